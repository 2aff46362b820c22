package resolver

import (
	"cmp"
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// clientMessage is what a server says when a client connects, disconnects or is
// refused (events.go: ConnectEventMsg, DisconnectEventMsg). The JWT that comes along is
// read and dropped with the message.
type clientMessage struct {
	Server serverInfo `json:"server"`
	Client struct {
		Start     time.Time `json:"start"`
		Stop      time.Time `json:"stop"`
		Host      string    `json:"host"`
		CID       uint64    `json:"id"`
		Account   string    `json:"acc"`
		User      string    `json:"user"`
		Name      string    `json:"name"`
		Lang      string    `json:"lang"`
		Version   string    `json:"ver"`
		JWT       string    `json:"jwt"`
		IssuerKey string    `json:"issuer_key"`
		Kind      string    `json:"kind"`
		Type      string    `json:"client_type"`
	} `json:"client"`
	Reason string `json:"reason"`
}

// decodeClient reads a message about a client.
func decodeClient(data []byte) (clientMessage, bool) {
	var m clientMessage
	err := json.Unmarshal(data, &m)
	return m, err == nil && claims.IsPublicKey(claims.KindServer, m.Server.ID) && m.Client.CID != 0
}

// kind is nats, mqtt, websocket or leaf.
func (m *clientMessage) kind() string {
	if m.Client.Kind == "Leafnode" {
		return claims.TypeLeaf
	}
	return errorText(m.Client.Type)
}

// connectionType is the kind as connection types of JWTs have it. A server does not
// tell whether MQTT or a leaf node came by WebSocket.
func (m *clientMessage) connectionType() string {
	switch kind := m.kind(); {
	case kind == claims.TypeLeaf:
		return jwt.ConnectionTypeLeafnode
	case kind == "mqtt":
		return jwt.ConnectionTypeMqtt
	case kind == "websocket":
		return jwt.ConnectionTypeWebsocket
	case m.Client.Host == "":
		return jwt.ConnectionTypeInProcess
	}
	return jwt.ConnectionTypeStandard
}

// client is who it is about. What clients say of themselves is bounded and stripped of
// secrets.
func (m *clientMessage) client(facts *claims.TokenFacts) claims.Client {
	c := claims.Client{
		CID: m.Client.CID, ServerID: m.Server.ID, ServerName: cmp.Or(errorText(m.Server.Name), m.Server.ID), UserKey: errorText(m.Client.User),
		Client: errorText(m.Client.Name), Host: errorText(m.Client.Host), Type: m.kind(), Lang: errorText(m.Client.Lang), Version: errorText(m.Client.Version),
	}
	if claims.IsPublicKey(claims.KindAccount, m.Client.IssuerKey) {
		c.IssuerKey = m.Client.IssuerKey
	}
	if facts != nil {
		c.UserKey, c.UserName, c.IssuerKey = cmp.Or(c.UserKey, facts.UserKey), errorText(facts.Name), cmp.Or(c.IssuerKey, facts.IssuerKey)
	}
	return c
}

// connection is a live connection of which a server told.
func (m *clientMessage) connection(operatorID, accountID string, c claims.Client, facts *claims.TokenFacts) claims.LiveConnection {
	out := claims.LiveConnection{OperatorID: operatorID, AccountID: accountID, Connection: claims.Connection{
		CID: c.CID, ServerID: c.ServerID, ServerName: c.ServerName, UserKey: c.UserKey, IssuerKey: c.IssuerKey, Client: c.Client, Host: c.Host, Type: c.Type,
		Lang: c.Lang, Version: c.Version, Since: m.Client.Start.UTC(),
	}}
	if facts != nil {
		out.User = shownUser(&facts.ConnectedUser)
	}
	return out
}

// shownUser is who a JWT says that it is for, without secrets in the name: people paste
// seeds into names.
func shownUser(u *claims.ConnectedUser) *claims.ConnectedUser {
	if u == nil {
		return nil
	}
	out := *u
	out.Name = errorText(u.Name)
	return &out
}

// usageMessage is what a server says of an account's connections (events.go:
// AccountNumConns).
type usageMessage struct {
	Server        serverInfo `json:"server"`
	Account       string     `json:"acc"`
	Conns         int        `json:"conns"`
	Leafs         int        `json:"leafnodes"`
	Subscriptions int64      `json:"num_subscriptions"`
	Sent          traffic    `json:"sent"`
	Received      traffic    `json:"received"`
	SlowConsumers int64      `json:"slow_consumers"`
}

type traffic struct {
	Msgs  int64 `json:"msgs"`
	Bytes int64 `json:"bytes"`
}

func decodeUsage(data []byte) (usageMessage, bool) {
	var m usageMessage
	err := json.Unmarshal(data, &m)
	return m, err == nil && claims.IsPublicKey(claims.KindServer, m.Server.ID) && claims.IsPublicKey(claims.KindAccount, m.Account)
}

// kickQuery asks a server to close a connection.
type kickQuery struct {
	CID uint64 `json:"cid"`
}

// noSuchConnection tells whether a server has no such connection (server.go:
// DisconnectClientByID).
func noSuchConnection(e *serverError) bool {
	return e != nil && strings.Contains(e.Description, "no such client")
}

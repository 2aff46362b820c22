package api

import (
	"time"

	"github.com/nats-io/jwt/v2"
)

// Subjects is a list of what is allowed and one of what is denied.
type Subjects struct {
	Allow []string `json:"allow,omitempty" maxItems:"500"`
	Deny  []string `json:"deny,omitempty" maxItems:"500"`
}

// Permissions say what may be published and subscribed to.
type Permissions struct {
	Publish   *Subjects  `json:"publish,omitempty"`
	Subscribe *Subjects  `json:"subscribe,omitempty" doc:"A subject may be followed by a space and a queue group."`
	Responses *Responses `json:"responses,omitempty" doc:"Allows to publish to the reply subject of a message that was received."`
}

// Responses bound what may be published to reply subjects.
type Responses struct {
	Max        int   `json:"max,omitempty" doc:"Messages for each reply subject; 0 means 1, -1 no bound."`
	TTLSeconds int64 `json:"ttl_seconds,omitempty" maximum:"31536000" doc:"0 means 2 minutes."`
}

// ConnectHours is a part of the day, HH:MM:SS; it may cross midnight.
type ConnectHours struct {
	Start string `json:"start" maxLength:"8" example:"08:00:00"`
	End   string `json:"end" maxLength:"8" example:"18:00:00"`
}

// UserLimits bound one user's connections; -1 is unlimited.
type UserLimits struct {
	Subscriptions Omit[int64] `json:"subscriptions,omitempty"`
	DataBytes     Omit[int64] `json:"data_bytes,omitempty"`
	PayloadBytes  Omit[int64] `json:"payload_bytes,omitempty"`
}

// PermissionSet is the permissions and limits of a user or a template.
type PermissionSet struct {
	Permissions     *Permissions         `json:"permissions,omitempty"`
	Limits          *UserLimits          `json:"limits,omitempty"`
	ConnectionTypes Omit[[]string]       `json:"connection_types,omitempty" maxItems:"16" doc:"Empty allows every type."`
	SourceCIDRs     Omit[[]string]       `json:"source_cidrs,omitempty" maxItems:"100" doc:"Networks from which clients may connect; empty allows all." example:"[\"10.0.0.0/8\"]"`
	Times           Omit[[]ConnectHours] `json:"times,omitempty" maxItems:"32"`
	TimesLocation   Omit[string]         `json:"times_location,omitempty" maxLength:"64" example:"Europe/Berlin"`
	Bearer          Omit[bool]           `json:"bearer,omitempty" doc:"Whoever has the JWT may connect, without a key."`
}

// given tells whether anything was said.
func (p *PermissionSet) given() bool {
	return p.Permissions != nil || p.Limits != nil || p.ConnectionTypes.Set || p.SourceCIDRs.Set || p.Times.Set || p.Bearer.Set
}

func (p *PermissionSet) onto(l *jwt.UserPermissionLimits) {
	if x := p.Permissions; x != nil {
		if x.Publish != nil {
			l.Pub = jwt.Permission{Allow: x.Publish.Allow, Deny: x.Publish.Deny}
		}
		if x.Subscribe != nil {
			l.Sub = jwt.Permission{Allow: x.Subscribe.Allow, Deny: x.Subscribe.Deny}
		}
		if x.Responses != nil {
			l.Resp = &jwt.ResponsePermission{MaxMsgs: x.Responses.Max, Expires: time.Duration(x.Responses.TTLSeconds) * time.Second}
		}
	}
	if x := p.Limits; x != nil {
		x.Subscriptions.onto(&l.Subs, jwt.NoLimit)
		x.DataBytes.onto(&l.Data, jwt.NoLimit)
		x.PayloadBytes.onto(&l.Payload, jwt.NoLimit)
	}
	p.ConnectionTypes.onto((*[]string)(&l.AllowedConnectionTypes), nil)
	p.SourceCIDRs.onto((*[]string)(&l.Src), nil)
	if p.Times.Set {
		l.Times = nil
		for _, t := range p.Times.Value {
			l.Times = append(l.Times, jwt.TimeRange(t))
		}
	}
	p.TimesLocation.onto(&l.Locale, "")
	p.Bearer.onto(&l.BearerToken, false)
}

// PermissionView is the permissions and limits as they are.
type PermissionView struct {
	Permissions     Permissions    `json:"permissions"`
	Limits          UserLimitsView `json:"limits"`
	ConnectionTypes []string       `json:"connection_types"`
	SourceCIDRs     []string       `json:"source_cidrs"`
	Times           []ConnectHours `json:"times"`
	TimesLocation   string         `json:"times_location"`
	Bearer          bool           `json:"bearer"`
}

// UserLimitsView is UserLimits filled in.
type UserLimitsView struct {
	Subscriptions int64 `json:"subscriptions"`
	DataBytes     int64 `json:"data_bytes"`
	PayloadBytes  int64 `json:"payload_bytes"`
}

func viewPermissions(l jwt.UserPermissionLimits) PermissionView {
	v := PermissionView{
		Permissions: Permissions{Publish: &Subjects{l.Pub.Allow, l.Pub.Deny}, Subscribe: &Subjects{l.Sub.Allow, l.Sub.Deny}},
		Limits:      UserLimitsView{l.Subs, l.Data, l.Payload}, ConnectionTypes: filled(l.AllowedConnectionTypes), SourceCIDRs: filled(l.Src),
		Times: []ConnectHours{}, TimesLocation: l.Locale, Bearer: l.BearerToken,
	}
	if l.Resp != nil {
		v.Permissions.Responses = &Responses{l.Resp.MaxMsgs, int64(l.Resp.Expires / time.Second)}
	}
	for _, t := range l.Times {
		v.Times = append(v.Times, ConnectHours(t))
	}
	return v
}

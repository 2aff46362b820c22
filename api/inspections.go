package api

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// Inspection is a NATS JWT, read.
type Inspection struct {
	Type      string     `json:"type" enum:"operator,account,user,activation,authorization_request,authorization_response"`
	Name      string     `json:"name,omitempty"`
	Subject   string     `json:"subject" doc:"Whose JWT it is: a public key."`
	Issuer    string     `json:"issuer" doc:"The public key that signed it; the signature was verified."`
	ID        string     `json:"jti,omitempty"`
	IssuedAt  *time.Time `json:"issued_at,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	NotBefore *time.Time `json:"not_before,omitempty"`
	Version   int        `json:"version" doc:"Of the claims: 1 or 2."`
	// Claims is the body as nats-io/jwt reads it.
	Claims      json.RawMessage    `json:"claims" doc:"The claims as a nats-server reads them; seeds, passwords and JWTs within them are redacted."`
	Unknown     []string           `json:"unknown_fields,omitempty" doc:"JSON pointers of what this version does not know. It would be lost if the JWT were signed anew, which is therefore refused."`
	Chain       []ChainLink        `json:"chain" doc:"From what signed the JWT up to the operator."`
	Problems    []ClaimsProblem    `json:"problems" doc:"Everything that is wrong with the claims."`
	Permissions *EffectivePermView `json:"effective_permissions,omitempty" doc:"What a user may really do; absent as long as its account is not known here."`
}

// ChainLink is one link of a chain of trust.
type ChainLink struct {
	Kind   string `json:"kind" enum:"operator,account"`
	Key    string `json:"key,omitempty"`
	Name   string `json:"name,omitempty"`
	Signer string `json:"signer" doc:"The key that signed."`
	Role   string `json:"role,omitempty" doc:"Of a scoped signing key."`
	State  string `json:"state" enum:"trusted,broken,unknown"`
	Why    string `json:"why"`
}

// ClaimsProblem is one thing wrong with claims.
type ClaimsProblem struct {
	Pointer string `json:"pointer,omitempty" doc:"JSON pointer, in the names of this API."`
	Code    string `json:"code"`
	Detail  string `json:"detail"`
	// Server tells whether a nats-server minds.
	Server bool `json:"refused_by_server" doc:"Whether a nats-server refuses the JWT, or the connection, because of it."`
}

// EffectivePermView is what a user may really do.
type EffectivePermView struct {
	Origin       string       `json:"origin" enum:"user,template,account_default,server,none" doc:"Whose permissions they are."`
	Publish      RulesView    `json:"publish"`
	Subscribe    RulesView    `json:"subscribe"`
	Refusal      string       `json:"refusal,omitempty" doc:"Why a nats-server refuses the connection because of the permissions."`
	Capabilities []Capability `json:"capabilities"`
}

// RulesView is what holds for publishing or subscribing.
type RulesView struct {
	Restricted bool          `json:"restricted" doc:"Whether only what allow names is allowed."`
	Allow      []RuleView    `json:"allow"`
	Deny       []RuleView    `json:"deny"`
	Dropped    []DroppedView `json:"dropped,omitempty" doc:"What a nats-server leaves out without a word."`
}

// RuleView is one subject and the entry that it came from.
type RuleView struct {
	Subject string `json:"subject"`
	Queue   string `json:"queue,omitempty"`
	From    string `json:"from,omitempty" doc:"JSON pointer of the entry."`
	Source  string `json:"source,omitempty" doc:"The entry as written."`
}

// DroppedView is an entry that has no effect.
type DroppedView struct {
	From   string `json:"from"`
	Source string `json:"source"`
	Why    string `json:"why"`
}

// Capability is what the permissions mean, in a sentence.
type Capability struct {
	Can  bool   `json:"can"`
	Text string `json:"text" example:"can use request/reply"`
}

func viewRule(r claims.Rule) RuleView {
	return RuleView{Subject: r.Subject, Queue: r.Queue, From: r.Pointer, Source: r.Source}
}

func viewRules(s claims.RuleSet) RulesView {
	v := RulesView{Restricted: s.Restricted, Allow: []RuleView{}, Deny: []RuleView{}}
	for _, r := range s.Allow {
		v.Allow = append(v.Allow, viewRule(r))
	}
	for _, r := range s.Deny {
		v.Deny = append(v.Deny, viewRule(r))
	}
	for _, d := range s.Dropped {
		v.Dropped = append(v.Dropped, DroppedView{From: d.Pointer, Source: d.Source, Why: d.Why})
	}
	return v
}

func viewEffective(e claims.Effective) *EffectivePermView {
	v := &EffectivePermView{Origin: string(e.Origin), Publish: viewRules(e.Publish), Subscribe: viewRules(e.Subscribe), Capabilities: []Capability{}}
	if e.Refusal != nil {
		v.Refusal = e.Refusal.Detail
	}
	for _, c := range e.Capabilities() {
		v.Capabilities = append(v.Capabilities, Capability{c.Can, c.Text})
	}
	return v
}

type inspectInput struct {
	Body struct {
		JWT string `json:"jwt" minLength:"1" maxLength:"1048576" doc:"A NATS JWT of any type. It is neither stored nor logged. Never send a seed."`
	}
}

func (a *API) inspect(ctx context.Context, by call, in *inspectInput) (*answered[Inspection], error) {
	x, err := a.issuer.Inspect(ctx, by.caller, claims.NewSecret(in.Body.JWT))
	if err != nil {
		return nil, err
	}
	v, err := InspectionOf(x, a.now())
	if err != nil {
		return nil, err
	}
	return &answered[Inspection]{v}, nil
}

// InspectionOf returns the answer about a JWT that was read; at decides whether it
// has expired.
func InspectionOf(x issuer.Inspection, at time.Time) (Inspection, error) {
	body, err := json.Marshal(withoutSecrets(x.Claims))
	if err != nil {
		return Inspection{}, err
	}
	body = []byte(claims.Redact(string(body)))
	d := x.Claims.Claims()
	v := Inspection{
		Type: string(x.Claims.ClaimType()), Name: d.Name, Subject: d.Subject, Issuer: d.Issuer, ID: d.ID, Version: x.Version, Unknown: x.Unknown,
		IssuedAt: unixTime(d.IssuedAt), ExpiresAt: unixTime(d.Expires), NotBefore: unixTime(d.NotBefore), Claims: body, Chain: []ChainLink{}, Problems: []ClaimsProblem{},
	}
	for _, l := range x.Chain {
		v.Chain = append(v.Chain, ChainLink{string(l.Kind), l.Key, l.Name, l.Signer, l.Role, string(l.State), l.Why})
	}
	for _, p := range x.Problems(at) {
		v.Problems = append(v.Problems, ClaimsProblem{p.Pointer, p.Code, p.Detail, p.Server})
	}
	if x.Permissions != nil {
		v.Permissions = viewEffective(*x.Permissions)
	}
	return v, nil
}

// withoutSecrets returns the claims without what a client signs in with: a request to
// an auth callout holds its password and token. Redact finds the rest by its shape.
func withoutSecrets(c jwt.Claims) jwt.Claims {
	r, ok := c.(*jwt.AuthorizationRequestClaims)
	if !ok {
		return c
	}
	out := *r
	for _, s := range []*string{&out.ConnectOptions.Password, &out.ConnectOptions.Token} {
		if *s != "" {
			*s = "[redacted]"
		}
	}
	return &out
}

// answered is the answer of what only reads.
type answered[T any] struct{ Body T }

func unixTime(s int64) *time.Time {
	if s == 0 {
		return nil
	}
	t := time.Unix(s, 0).UTC()
	return &t
}

// Explanation is why a client was, or would be, admitted or refused.
type Explanation struct {
	Verdict     string             `json:"verdict" enum:"admitted,refused,cannot_know,delegated"`
	Summary     string             `json:"summary" doc:"The verdict and its reason in a sentence."`
	FailedCheck string             `json:"failed_check,omitempty" doc:"The id of the first check that fails: the reason."`
	Checks      []CheckView        `json:"checks" doc:"In the order of a nats-server."`
	Account     string             `json:"account,omitempty"`
	AccountName string             `json:"account_name,omitempty"`
	User        string             `json:"user,omitempty"`
	UserName    string             `json:"user_name,omitempty"`
	Permissions *EffectivePermView `json:"effective_permissions,omitempty"`
}

// CheckView is one of the server's checks.
type CheckView struct {
	ID        string   `json:"id" example:"revoked"`
	Title     string   `json:"title"`
	Result    string   `json:"result" enum:"pass,fail,cannot_know,not_reached"`
	Evidence  string   `json:"evidence,omitempty"`
	Fixes     []string `json:"fixes,omitempty"`
	ServerLog string   `json:"server_log,omitempty" doc:"Regular expression for the line in the server's log, mostly at debug level."`
}

type explainInput struct {
	Body struct {
		JWT  string          `json:"jwt,omitempty" maxLength:"32768" doc:"The user's JWT. It is neither stored nor logged. Never send a seed."`
		ID   string          `json:"event_id,omitempty" maxLength:"64" doc:"Instead of a JWT: the event of a denial, which was explained when it happened." example:"evt_k3j2x_88123"`
		Host string          `json:"host,omitempty" maxLength:"64" doc:"The client's IP address." example:"10.2.3.4"`
		Type string          `json:"type,omitempty" maxLength:"16" doc:"STANDARD, WEBSOCKET, LEAFNODE, LEAFNODE_WS, MQTT, MQTT_WS or IN_PROCESS." example:"STANDARD"`
		By   string          `json:"signed_by,omitempty" maxLength:"64" doc:"Public key U… of the seed that the client holds; without it nobody can tell whether it proves to be the user."`
		At   Omit[time.Time] `json:"at,omitempty" doc:"When it connects; now if absent."`
	}
}

func (a *API) explain(ctx context.Context, by call, in *explainInput) (*answered[Explanation], error) {
	if in.Body.ID != "" && in.Body.JWT == "" {
		return a.explainEvent(ctx, by, in.Body.ID)
	}
	e, err := a.issuer.Explain(ctx, by.caller, issuer.AttemptInput{JWT: claims.NewSecret(in.Body.JWT), Host: in.Body.Host, Type: in.Body.Type, SignedBy: in.Body.By, At: in.Body.At.Value})
	if err != nil {
		return nil, err
	}
	return &answered[Explanation]{ExplanationOf(e)}, nil
}

// ExplanationOf returns the answer about a connection.
func ExplanationOf(e claims.Explanation) Explanation {
	v := Explanation{
		Verdict: string(e.Verdict), Summary: e.Summary, Checks: []CheckView{},
		Account: e.Account, AccountName: e.AccountName, User: e.User, UserName: e.UserName,
	}
	if e.Failed != nil {
		v.FailedCheck = e.Failed.ID
	}
	for _, c := range e.Checks {
		x := CheckView{ID: c.ID, Title: c.Title, Result: string(c.Result), Evidence: c.Evidence, Fixes: c.Fixes}
		if c.Result == claims.ResultFail {
			x.ServerLog = c.ServerLog
		}
		v.Checks = append(v.Checks, x)
	}
	if e.Permissions != nil {
		v.Permissions = viewEffective(*e.Permissions)
	}
	return v
}

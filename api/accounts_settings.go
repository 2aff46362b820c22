package api

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// AccountSettings is what an account's JWT says but for its keys, revocations, exports
// and imports.
type AccountSettings struct {
	Description        string        `json:"description"`
	InfoURL            string        `json:"info_url"`
	Tags               []string      `json:"tags"`
	Limits             Limits        `json:"limits"`
	JetStream          JetStream     `json:"jetstream"`
	DefaultPermissions Permissions   `json:"default_permissions" doc:"Of users without permissions of their own."`
	Mappings           []Mapping     `json:"mappings" doc:"By source."`
	Trace              *Trace        `json:"trace,omitempty" doc:"Where messages are traced to; absent is nowhere."`
	ClusterTraffic     string        `json:"cluster_traffic" doc:"system or owner: whose connections carry JetStream's traffic between servers."`
	Authorization      Authorization `json:"authorization"`
}

// Mapping sends what is published to one subject to others.
type Mapping struct {
	Source       string        `json:"source" maxLength:"1024" example:"orders.*"`
	Destinations []Destination `json:"destinations" maxItems:"100"`
}

// Destination is where a part of the messages goes.
type Destination struct {
	Subject string `json:"subject" maxLength:"1024" example:"orders.v2.$1"`
	Weight  int    `json:"weight,omitempty" minimum:"0" maximum:"100" doc:"Percent; 0 or none means 100. What is left of 100 keeps its subject."`
	Cluster string `json:"cluster,omitempty" maxLength:"1024" doc:"Only in this cluster."`
}

// Trace is where messages of the account that ask for it are traced to.
type Trace struct {
	Destination string `json:"destination"`
	Sampling    int    `json:"sampling" doc:"Percent of them."`
}

// Authorization is the account's auth callout; without users there is none.
type Authorization struct {
	AuthUsers       []string `json:"auth_users" doc:"Public keys of those who answer it."`
	AllowedAccounts []string `json:"allowed_accounts" doc:"Public keys of accounts into which they may place users; * is every one."`
	XKey            string   `json:"xkey" doc:"A public curve key with which requests are encrypted."`
}

func viewSettings(s jwt.Account) AccountSettings {
	v := AccountSettings{
		Description: s.Description, InfoURL: s.InfoURL, Tags: filled(s.Tags), Limits: viewLimits(s.Limits), JetStream: viewJetStream(s.Limits),
		DefaultPermissions: viewPermissions(jwt.UserPermissionLimits{Permissions: s.DefaultPermissions}).Permissions,
		Mappings:           []Mapping{}, ClusterTraffic: cmp.Or(string(s.ClusterTraffic), string(jwt.ClusterTrafficSystem)),
		Authorization: Authorization{filled(s.Authorization.AuthUsers), filled(s.Authorization.AllowedAccounts), s.Authorization.XKey},
	}
	for _, source := range slices.Sorted(maps.Keys(s.Mappings)) {
		m := Mapping{Source: string(source), Destinations: []Destination{}}
		for _, d := range s.Mappings[source] {
			m.Destinations = append(m.Destinations, Destination{string(d.Subject), int(d.GetWeight()), d.Cluster})
		}
		v.Mappings = append(v.Mappings, m)
	}
	if t := s.Trace; t != nil {
		v.Trace = &Trace{string(t.Destination), cmp.Or(t.Sampling, 100)}
	}
	return v
}

// AccountSettingsInput sets settings; null puts one back to its default.
type AccountSettingsInput struct {
	Description        Omit[string]                  `json:"description,omitempty" maxLength:"8192"`
	InfoURL            Omit[string]                  `json:"info_url,omitempty" maxLength:"8192" example:"https://wiki.acme.example/orders"`
	Tags               Omit[[]string]                `json:"tags,omitempty" maxItems:"64" example:"[\"team:orders\"]"`
	Limits             Omit[LimitsInput]             `json:"limits,omitempty"`
	JetStream          Omit[JetStreamInput]          `json:"jetstream,omitempty"`
	DefaultPermissions Omit[DefaultPermissionsInput] `json:"default_permissions,omitempty" doc:"Of users without permissions of their own."`
	Mappings           Omit[[]Mapping]               `json:"mappings,omitempty" maxItems:"500" doc:"Replaces all mappings."`
	Trace              Omit[TraceInput]              `json:"trace,omitempty"`
	ClusterTraffic     Omit[string]                  `json:"cluster_traffic,omitempty" maxLength:"16" doc:"system, the default, or owner: the account's own connections carry JetStream's traffic between servers."`
	Authorization      Omit[AuthorizationInput]      `json:"authorization,omitempty"`
}

// DefaultPermissionsInput sets the permissions of users without any of their own; null
// lifts a bound.
type DefaultPermissionsInput struct {
	Publish   Omit[SubjectsInput]  `json:"publish,omitempty"`
	Subscribe Omit[SubjectsInput]  `json:"subscribe,omitempty" doc:"A subject may be followed by a space and a queue group."`
	Responses Omit[ResponsesInput] `json:"responses,omitempty" doc:"Allows to publish to the reply subject of a message that was received."`
}

// SubjectsInput sets lists of subjects.
type SubjectsInput struct {
	Allow Omit[[]string] `json:"allow,omitempty" maxItems:"500"`
	Deny  Omit[[]string] `json:"deny,omitempty" maxItems:"500"`
}

// ResponsesInput bounds what may be published to reply subjects.
type ResponsesInput struct {
	Max        Omit[int]   `json:"max,omitempty" doc:"Messages for each reply subject; 0 means 1, -1 no bound."`
	TTLSeconds Omit[int64] `json:"ttl_seconds,omitempty" maximum:"31536000" doc:"0 means 2 minutes."`
}

// TraceInput sets where messages are traced to.
type TraceInput struct {
	Destination Omit[string] `json:"destination,omitempty" maxLength:"1024" example:"trace.orders"`
	Sampling    Omit[int]    `json:"sampling,omitempty" doc:"Percent; 0 means 100."`
}

// AuthorizationInput sets the account's auth callout.
type AuthorizationInput struct {
	AuthUsers       Omit[[]string] `json:"auth_users,omitempty" maxItems:"100"`
	AllowedAccounts Omit[[]string] `json:"allowed_accounts,omitempty" maxItems:"1000"`
	XKey            Omit[string]   `json:"xkey,omitempty" maxLength:"64"`
}

// onto sets what was said, and returns what is wrong with it in itself.
func (p *AccountSettingsInput) onto(s *jwt.Account) claims.Problems {
	p.Description.onto(&s.Description, "")
	p.InfoURL.onto(&s.InfoURL, "")
	p.Tags.onto((*[]string)(&s.Tags), nil)
	if p.Limits.Null {
		js, tiers := s.Limits.JetStreamLimits, s.Limits.JetStreamTieredLimits
		s.Limits = claims.NewAccountSettings().Limits
		s.Limits.JetStreamLimits, s.Limits.JetStreamTieredLimits = js, tiers
	}
	p.Limits.Value.onto(&s.Limits)
	if p.JetStream.Null {
		s.Limits.JetStreamLimits, s.Limits.JetStreamTieredLimits = jwt.JetStreamLimits{}, nil
	}
	problems := p.JetStream.Value.onto(&s.Limits)
	if p.DefaultPermissions.Null {
		s.DefaultPermissions = jwt.Permissions{}
	}
	p.DefaultPermissions.Value.onto(&s.DefaultPermissions)
	problems = append(problems, p.ontoMappings(s)...)
	p.ontoTrace(s)
	if was := s.ClusterTraffic; p.ClusterTraffic.Null || p.ClusterTraffic.Value != string(jwt.ClusterTrafficSystem) || was != "" {
		p.ClusterTraffic.onto((*string)(&s.ClusterTraffic), "")
	}
	if p.Authorization.Null {
		s.Authorization = jwt.ExternalAuthorization{}
	}
	a := p.Authorization.Value
	a.AuthUsers.onto((*[]string)(&s.Authorization.AuthUsers), nil)
	a.AllowedAccounts.onto((*[]string)(&s.Authorization.AllowedAccounts), nil)
	a.XKey.onto(&s.Authorization.XKey, "")
	return problems
}

func (p DefaultPermissionsInput) onto(to *jwt.Permissions) {
	for _, x := range []struct {
		from Omit[SubjectsInput]
		to   *jwt.Permission
	}{{p.Publish, &to.Pub}, {p.Subscribe, &to.Sub}} {
		if x.from.Null {
			*x.to = jwt.Permission{}
		}
		x.from.Value.Allow.onto((*[]string)(&x.to.Allow), nil)
		x.from.Value.Deny.onto((*[]string)(&x.to.Deny), nil)
	}
	if !p.Responses.Set {
		return
	}
	if p.Responses.Null {
		to.Resp = nil
		return
	}
	r := jwt.ResponsePermission{}
	if to.Resp != nil {
		r = *to.Resp
	}
	p.Responses.Value.Max.onto(&r.MaxMsgs, 0)
	seconds := int64(r.Expires / time.Second)
	was := seconds
	if p.Responses.Value.TTLSeconds.onto(&seconds, 0); seconds != was { // what was read may have parts of a second
		r.Expires = time.Duration(seconds) * time.Second
	}
	to.Resp = &r
}

// ontoMappings replaces the mappings. Those that mean the same as before are left as
// they are written.
func (p *AccountSettingsInput) ontoMappings(s *jwt.Account) claims.Problems {
	if !p.Mappings.Set {
		return nil
	}
	var problems claims.Problems
	set := jwt.Mapping{}
	for i, m := range p.Mappings.Value {
		source := jwt.Subject(m.Source)
		if _, twice := set[source]; twice {
			problems = append(problems, claims.Problem{
				Pointer: claims.Point("/mappings", i, "source"), Code: "duplicate", Detail: "A source has one mapping, with all its destinations.", Blocking: true,
			})
		}
		set[source] = []jwt.WeightedMapping{}
		for _, d := range m.Destinations {
			set[source] = append(set[source], jwt.WeightedMapping{Subject: jwt.Subject(d.Subject), Weight: uint8(d.Weight), Cluster: d.Cluster}) //nolint:gosec // at most 100, see the schema
		}
		if weighted(set[source], s.Mappings[source]) {
			set[source] = s.Mappings[source]
		}
	}
	if s.Mappings = set; len(set) == 0 {
		s.Mappings = nil
	}
	return problems
}

// weighted tells whether both lists send the same parts to the same subjects.
func weighted(a, b []jwt.WeightedMapping) bool {
	return slices.EqualFunc(a, b, func(x, y jwt.WeightedMapping) bool {
		return x.Subject == y.Subject && x.Cluster == y.Cluster && x.GetWeight() == y.GetWeight()
	})
}

func (p *AccountSettingsInput) ontoTrace(s *jwt.Account) {
	if !p.Trace.Set {
		return
	}
	if p.Trace.Null {
		s.Trace = nil
		return
	}
	t := jwt.MsgTrace{}
	if s.Trace != nil {
		t = *s.Trace
	}
	destination, was := string(t.Destination), t.Sampling
	p.Trace.Value.Destination.onto(&destination, "")
	t.Destination = jwt.Subject(destination)
	if p.Trace.Value.Sampling.onto(&t.Sampling, 0); cmp.Or(t.Sampling, 100) == cmp.Or(was, 100) {
		t.Sampling = was
	}
	s.Trace = &t
}

// pointed makes what an error says of mappings point at the request, which may list
// them in another order than by source.
func (p *AccountSettingsInput) pointed(err error) error {
	e, ok := errors.AsType[*issuer.Error](err)
	if !ok || len(p.Mappings.Value) < 2 {
		return err
	}
	at := map[string]int{}
	for i, m := range p.Mappings.Value {
		at[m.Source] = i
	}
	sorted := slices.Sorted(maps.Keys(at))
	for n, x := range e.Problems {
		rest, ok := strings.CutPrefix(x.Pointer, "/mappings/")
		index, rest, _ := strings.Cut(rest, "/")
		i, bad := strconv.Atoi(index)
		if !ok || bad != nil || i >= len(sorted) || x.Code == "duplicate" && rest == "source" {
			continue
		}
		e.Problems[n].Pointer = claims.Point("/mappings", at[sorted[i]]) + "/" + rest
	}
	return err
}

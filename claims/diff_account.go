package claims

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// DiffAccounts returns what differs between two account claims; nil stands for none
// at all. When and by whom they were signed is no difference.
func DiffAccounts(before, after *jwt.AccountClaims) []FieldChange {
	a, b := orNew(before), orNew(after)
	d := differ{fresh: before == nil}
	d.standard(&a.ClaimsData, &b.ClaimsData)
	d.text("/description", "Description", a.Description, b.Description)
	d.text("/info_url", "Information URL", a.InfoURL, b.InfoURL)
	d.set("/tags", "Tag", a.Tags, b.Tags)
	d.accountLimits(a.Limits, b.Limits)
	d.part("/default_permissions", "Users without permissions of their own: ", func(p *differ) { p.permissions(a.DefaultPermissions, b.DefaultPermissions) })
	d.signingKeys(a.SigningKeys, b.SigningKeys)
	d.revocations("/revocations", a.Revocations, b.Revocations)
	d.exports(a.Exports, b.Exports)
	d.imports(a.Imports, b.Imports)
	d.mappings(a.Mappings, b.Mappings)
	d.authorization(a.Authorization, b.Authorization)
	x, y := orNew(a.Trace), orNew(b.Trace)
	d.text("/trace/dest", "Trace destination", string(x.Destination), string(y.Destination))
	d.text("/trace/sampling", "Trace sampling", percent(x.Sampling), percent(y.Sampling))
	d.text("/cluster_traffic", "Cluster traffic", string(a.ClusterTraffic), string(b.ClusterTraffic))
	return d.changes
}

func (d *differ) accountLimits(a, b jwt.OperatorLimits) {
	d.limit("/limits/conn", "Connections", a.Conn, b.Conn, count)
	d.limit("/limits/leaf", "Leaf node connections", a.LeafNodeConn, b.LeafNodeConn, count)
	d.limit("/limits/subs", "Subscriptions", a.Subs, b.Subs, count)
	d.limit("/limits/payload", "Largest message", a.Payload, b.Payload, size)
	d.limit("/limits/data", "Data", a.Data, b.Data, size)
	d.limit("/limits/imports", "Imports", a.Imports, b.Imports, count)
	d.limit("/limits/exports", "Exports", a.Exports, b.Exports, count)
	d.flag("/limits/wildcards", "Exports with wildcards", a.WildcardExports, b.WildcardExports)
	d.flag("/limits/disallow_bearer", "Bearer tokens refused", a.DisallowBearer, b.DisallowBearer)
	d.part("/limits", "JetStream ", func(p *differ) { p.jetStream(a.JetStreamLimits, b.JetStreamLimits) })
	for _, tier := range keysOf(a.JetStreamTieredLimits, b.JetStreamTieredLimits) {
		x, was := a.JetStreamTieredLimits[tier]
		y, is := b.JetStreamTieredLimits[tier]
		if was != is {
			d.set("/limits/tiered_limits", "JetStream tier", only(was, tier), only(is, tier))
		}
		d.part(Point("/limits/tiered_limits", tier), "JetStream "+tier+" ", func(p *differ) {
			p.fresh = p.fresh || !was
			p.jetStream(x, y)
		})
	}
}

func only(is bool, s string) []string {
	if is {
		return []string{s}
	}
	return nil
}

// jetStream compares limits of which 0 of storage turns JetStream off, and 0 of the
// others is no limit (accounts.go: updateAccountClaimsWithRefresh).
func (d *differ) jetStream(a, b jwt.JetStreamLimits) {
	d.limit("/mem_storage", "memory", a.MemoryStorage, b.MemoryStorage, size)
	d.limit("/disk_storage", "disk", a.DiskStorage, b.DiskStorage, size)
	d.limit("/streams", "streams", a.Streams, b.Streams, unlessSet(count))
	d.limit("/consumer", "consumers", a.Consumer, b.Consumer, unlessSet(count))
	d.limit("/max_ack_pending", "pending acknowledgements", a.MaxAckPending, b.MaxAckPending, unlessSet(count))
	d.limit("/mem_max_stream_bytes", "memory of one stream", a.MemoryMaxStreamBytes, b.MemoryMaxStreamBytes, unlessSet(size))
	d.limit("/disk_max_stream_bytes", "disk of one stream", a.DiskMaxStreamBytes, b.DiskMaxStreamBytes, unlessSet(size))
	d.flag("/max_bytes_required", "streams must have a bound", a.MaxBytesRequired, b.MaxBytesRequired)
}

// signingKeys says once what is the same for several keys of a template.
func (d *differ) signingKeys(a, b jwt.SigningKeys) {
	for _, key := range keysOf(a, b) {
		x, was := a[key]
		y, is := b[key]
		name := "Signing key " + ShortKey(key)
		s, t := scopeOf(x), scopeOf(y)
		switch {
		case !was:
			d.add(Point("/signing_keys", key), name, "", role(t), name+" "+role(t)+" is added")
		case !is:
			d.add(Point("/signing_keys", key), name, role(s), "", name+" "+role(s)+" is removed")
		case (s == nil) != (t == nil):
			d.add(Point("/signing_keys", key), name, role(s), role(t), name+": "+role(s)+" → "+role(t))
		case s != nil && !same(s, t):
			d.part(Point("/signing_keys", key), "", func(p *differ) { p.scope(s, t) })
		}
	}
	seen := map[string]bool{}
	d.changes = slices.DeleteFunc(d.changes, func(c FieldChange) bool {
		if !strings.HasPrefix(c.Pointer, "/signing_keys/") {
			return false
		}
		repeated := seen[c.Sentence()]
		seen[c.Sentence()] = true
		return repeated
	})
}

func (d *differ) scope(a, b *jwt.UserScope) {
	label := "Template " + cmp.Or(b.Role, a.Role, ShortKey(b.Key)) + ": "
	d.part("", label, func(p *differ) {
		p.text("/kind", "kind", a.Kind.String(), b.Kind.String())
		p.text("/key", "key", ShortKey(a.Key), ShortKey(b.Key))
		p.text("/role", "role", a.Role, b.Role)
		p.text("/description", "description", a.Description, b.Description)
	})
	d.part("/template", label, func(p *differ) { p.template(a.Template, b.Template) })
}

// scopeOf returns the template that a signing key carries, nil for a plain one.
func scopeOf(s jwt.Scope) *jwt.UserScope {
	out, _ := s.(*jwt.UserScope)
	return out
}

// role describes what a signing key carries.
func role(s *jwt.UserScope) string {
	if s == nil {
		return "without a template"
	}
	return "of the template " + cmp.Or(s.Role, "without a name")
}

func (d *differ) revocations(pointer string, a, b jwt.RevocationList) {
	for _, key := range keysOf(a, b) {
		x, y := moment(a[key]), moment(b[key])
		if x == y {
			continue
		}
		who := "what was issued to " + ShortKey(key)
		if key == jwt.All {
			who = "everything issued"
		}
		sentence := who + " up to " + y + " is revoked"
		if y == "" {
			sentence = who + " up to " + x + " is not revoked any more"
		}
		d.add(Point(pointer, key), "Revocation of "+ShortKey(key), x, y, d.label+sentence)
	}
}

// exports compares by subject and type, the identity of an export.
func (d *differ) exports(a, b jwt.Exports) {
	id := func(e *jwt.Export) string { return e.Type.String() + " " + string(e.Subject) }
	each(a, b, id, func(id string, x, y *jwt.Export) {
		d.set("/exports", "Export", only(x != nil, id), only(y != nil, id))
		if x == nil || y == nil {
			return
		}
		d.part(Point("/exports", id), "Export "+id+": ", func(p *differ) {
			p.text("/name", "name", x.Name, y.Name)
			p.flag("/token_req", "token required", x.TokenReq, y.TokenReq)
			p.revocations("/revocations", x.Revocations, y.Revocations)
			p.text("/response_type", "responses", string(x.ResponseType), string(y.ResponseType))
			p.text("/response_threshold", "time to respond", duration(x.ResponseThreshold), duration(y.ResponseThreshold))
			p.text("/account_token_position", "account token position", number(x.AccountTokenPosition), number(y.AccountTokenPosition))
			p.flag("/advertise", "advertised", x.Advertise, y.Advertise)
			p.flag("/allow_trace", "tracing allowed", x.AllowTrace, y.AllowTrace)
			p.text("/description", "description", x.Description, y.Description)
			p.text("/info_url", "information URL", x.InfoURL, y.InfoURL)
			l, m := orNew(x.Latency), orNew(y.Latency)
			p.text("/service_latency/sampling", "latency sampling", sampling(x.Latency), sampling(y.Latency))
			p.text("/service_latency/results", "latency results", string(l.Results), string(m.Results))
		})
	})
}

func sampling(l *jwt.ServiceLatency) string {
	switch {
	case l == nil:
		return ""
	case l.Sampling == jwt.Headers:
		return "by headers"
	}
	return percent(int(l.Sampling))
}

func percent(n int) string {
	if n == 0 {
		return ""
	}
	return number(n) + " %"
}

// imports compares by account, subject and type. Of an activation token only that
// it differs is said.
func (d *differ) imports(a, b jwt.Imports) {
	id := func(i *jwt.Import) string {
		return i.Type.String() + " " + string(i.Subject) + " from " + ShortKey(i.Account)
	}
	each(a, b, id, func(id string, x, y *jwt.Import) {
		d.set("/imports", "Import", only(x != nil, id), only(y != nil, id))
		if x == nil || y == nil {
			return
		}
		d.part(Point("/imports", id), "Import "+id+": ", func(p *differ) {
			p.text("/name", "name", x.Name, y.Name)
			p.text("/to", "to", string(x.To), string(y.To)) //nolint:staticcheck // deprecated, and still in force where it is set
			p.text("/local_subject", "local subject", string(x.LocalSubject), string(y.LocalSubject))
			p.flag("/share", "shares who asks", x.Share, y.Share)
			p.flag("/allow_trace", "tracing allowed", x.AllowTrace, y.AllowTrace)
			if x.Token != y.Token {
				was, is := token(x.Token), token(y.Token)
				if was == is {
					is = "another token"
				}
				p.add("/token", "activation token", was, is, "")
			}
		})
	})
}

func token(s string) string {
	if s == "" {
		return "none"
	}
	return "a token"
}

func (d *differ) mappings(a, b jwt.Mapping) {
	show := func(list []jwt.WeightedMapping) []string {
		var out []string
		for _, m := range list {
			s := string(m.Subject) + " " + percent(int(m.GetWeight()))
			if m.Cluster != "" {
				s += " in cluster " + m.Cluster
			}
			out = append(out, s)
		}
		return out
	}
	for _, from := range keysOf(a, b) {
		d.set(Point("/mappings", string(from)), "Mapping of "+string(from), show(a[from]), show(b[from]))
	}
}

func (d *differ) authorization(a, b jwt.ExternalAuthorization) {
	d.set("/authorization/auth_users", "Auth callout user", shortened(a.AuthUsers), shortened(b.AuthUsers))
	d.set("/authorization/allowed_accounts", "Auth callout account", shortened(a.AllowedAccounts), shortened(b.AllowedAccounts))
	d.text("/authorization/xkey", "Auth callout encryption key", ShortKey(a.XKey), ShortKey(b.XKey))
}

// keysOf returns the keys of both, sorted.
func keysOf[M ~map[K]V, K cmp.Ordered, V any](a, b M) []K {
	out := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(out)
	return slices.Compact(out)
}

// each calls f for what two lists hold, by identity; nil stands for absent.
func each[T any](a, b []*T, id func(*T) string, f func(id string, a, b *T)) {
	index := func(list []*T) map[string]*T {
		out := map[string]*T{}
		for _, x := range list {
			key := id(x)
			for out[key] != nil { // the same subject may be imported under several names
				key += " again"
			}
			out[key] = x
		}
		return out
	}
	x, y := index(a), index(b)
	for _, k := range keysOf(x, y) {
		f(k, x[k], y[k])
	}
}

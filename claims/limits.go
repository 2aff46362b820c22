package claims

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
)

// CheckPermissionLimits returns every problem of a user's or template's
// permissions and limits; template allows template functions in subjects.
func CheckPermissionLimits(p jwt.UserPermissionLimits, template bool) Problems {
	problems := checkPermissions("/permissions", p.Permissions, template)
	problems = append(problems, checkLimit("/limits/subscriptions", p.Subs)...)
	problems = append(problems, checkLimit("/limits/data_bytes", p.Data)...)
	problems = append(problems, checkLimit("/limits/payload_bytes", p.Payload)...)
	problems.refusedAt("/limits/subscriptions") // taken literally, and every connection is closed
	if template {
		problems = append(problems, checkExact(p)...)
	}
	problems = append(problems, checkSources(p.Src, template)...)
	problems = append(problems, checkTimes(p.UserLimits, template)...)
	return append(problems, checkConnectionTypes(p.AllowedConnectionTypes)...)
}

// checkExact finds the numbers of a template that nats-io/jwt would change: it
// reads scoped signing keys as floating point first, which rounds above 2^53 and
// makes the whole account JWT unreadable at the upper end.
func checkExact(p jwt.UserPermissionLimits) Problems {
	values := []struct {
		pointer string
		value   int64
	}{
		{"/limits/subscriptions", p.Subs},
		{"/limits/data_bytes", p.Data},
		{"/limits/payload_bytes", p.Payload},
	}
	if p.Resp != nil {
		values = append(values, struct {
			pointer string
			value   int64
		}{"/permissions/responses/max", int64(p.Resp.MaxMsgs)}, struct {
			pointer string
			value   int64
		}{"/permissions/responses/ttl_seconds", int64(p.Resp.Expires)})
	}
	var out Problems
	for _, x := range values {
		if !exactInt(x.value) {
			found := Problems{blocking(x.pointer, "out_of_range", "In a template a number this large is rounded, or makes the account's JWT unreadable. Use -1 for unlimited.")}
			out = append(out, found.server(float64(x.value) >= 1<<63)...)
		}
	}
	return out
}

// checkSources checks source networks. A server reads those of a template in their
// order, and lets in whom one before an unreadable one holds.
func checkSources(sources jwt.CIDRList, template bool) Problems {
	var out Problems
	readable := false
	for i, c := range sources {
		prefix, err := netip.ParsePrefix(c)
		if err != nil {
			_, _, unread := net.ParseCIDR(c)
			out = append(out, Problems{
				blocking(Point("/source_cidrs", i), "invalid_cidr", "A source network is written as address/bits, such as 10.0.0.0/8 or 2001:db8::/32."),
			}.server(unread != nil && !(template && readable))...)
			readable = readable || unread == nil
			continue
		}
		readable = true
		if prefix != prefix.Masked() {
			out = append(out, warning(Point("/source_cidrs", i), "host_bits", "The address has bits set beyond its prefix; the whole network is meant, not the one address."))
		}
	}
	return out
}

const unknownTypeDetail = "The connection types are STANDARD, WEBSOCKET, LEAFNODE, LEAFNODE_WS, MQTT, MQTT_WS and IN_PROCESS."

// ConnectionTypes returns the types of connection that a user may be bound to.
func ConnectionTypes() []string { return slices.Clone(connectionTypes) }

var connectionTypes = []string{
	jwt.ConnectionTypeStandard, jwt.ConnectionTypeWebsocket, jwt.ConnectionTypeLeafnode, jwt.ConnectionTypeLeafnodeWS,
	jwt.ConnectionTypeMqtt, jwt.ConnectionTypeMqttWS, jwt.ConnectionTypeInProcess,
}

func checkConnectionTypes(types []string) Problems {
	var out Problems
	for i, c := range types {
		if !slices.Contains(connectionTypes, c) {
			out = append(out, blocking(Point("/connection_types", i), "unknown_value",
				unknownTypeDetail))
		}
	}
	// A server passes over types it does not know, in any case of letters, until none is left.
	return out.server(!slices.ContainsFunc(types, func(c string) bool { return slices.Contains(connectionTypes, strings.ToUpper(c)) }))
}

func checkTimes(l jwt.UserLimits, template bool) Problems {
	var out Problems
	never := 0
	for i, t := range l.Times {
		start, err1 := time.Parse(time.TimeOnly, t.Start)
		end, err2 := time.Parse(time.TimeOnly, t.End)
		if err1 != nil || err2 != nil {
			out = append(out, refused(Point("/times", i), "invalid_time", "Connect hours are written HH:MM:SS, from 00:00:00 to 23:59:59."))
		} else if start.Equal(end) {
			never++
			out = append(out, blocking(Point("/times", i), "invalid_time", "Start and end of connect hours must differ; an end before the start crosses midnight."))
		}
	}
	if never > 0 && never == len(l.Times) {
		out.server(true) // at no time may anybody connect
	}
	if l.Locale != "" {
		_, err := time.LoadLocation(l.Locale)
		// Local is whatever zone the server happens to run in.
		if err != nil || l.Locale == "Local" {
			out = append(out, Problems{
				blocking("/times_location", "invalid_time_zone", "The time zone must be an IANA name, such as Europe/Berlin."),
			}.server(err != nil && (!template || len(l.Times) > 0))...)
		}
	}
	return out
}

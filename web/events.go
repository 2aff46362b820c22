package web

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"chancery/claims"
	"chancery/issuer"
)

// EventStream writes events to w as they happen, until the reader goes or ctx ends. An
// error means that nothing was written.
type EventStream func(ctx context.Context, w http.ResponseWriter, s claims.EventStream) error

// mostEventRows is how many events the page shows.
const mostEventRows = 100

// eventsView is the last events.
type eventsView struct {
	Account, Type string
	Types         []option
	Rows          []eventRow
	Empty         *emptyView
	// RefreshURL loads the page again, StreamURL is where it goes on by itself; empty
	// without that.
	RefreshURL, StreamURL string
	// Words are the names of the types for the script.
	Words []eventWord
}

// eventWord is a type of event as it is shown.
type eventWord struct {
	Type string
	Chip chip
}

// eventRow is one event.
type eventRow struct {
	At                  time.Time
	Chip                chip
	Account, AccountURL string
	Who, Text, Server   string
	DenialURL           string
	Gap                 bool
}

// eventChips are the types in words.
var eventChips = map[claims.EventType]chip{
	claims.EventConnect: {toneGood, "Connected"}, claims.EventDisconnect: {toneOff, "Disconnected"}, claims.EventDenial: {toneBad, "Refused"},
	claims.EventServerUp: {toneGood, "Server up"}, claims.EventServerDown: {toneBad, "Server down"}, claims.EventLameDuck: {tonePart, "Lame duck"},
	claims.EventChange: {toneWait, "Changed"}, claims.EventSync: {toneGood, "Delivered"}, claims.EventDrift: {toneBad, "Drift"}, claims.EventGap: {toneWait, "Gap"},
}

func sortedTitles() []string {
	return slices.SortedFunc(maps.Keys(denialTitles), func(a, b string) int { return cmp.Compare(denialTitles[a], denialTitles[b]) })
}

// eventFilter reads the filters of the page, and what the visitor may see.
func (c *Console) eventFilter(r *http.Request, v *visit) (claims.EventQuery, url.Values, error) {
	q, query := url.Values{}, r.URL.Query()
	account := searchText(query.Get("account"))
	sight, err := c.issuer.Sight(r.Context(), v.caller, "", account)
	if err != nil {
		return claims.EventQuery{}, nil, err
	}
	out := claims.EventQuery{Sight: sight.Sight, AccountID: sight.AccountID, Newest: true, Limit: mostEventRows}
	if account != "" {
		q.Set("account", account)
	}
	if t := claims.EventType(query.Get("type")); slices.Contains(claims.EventTypes(), t) {
		out.Types = []claims.EventType{t}
		q.Set("type", string(t))
	}
	return out, q, nil
}

func (c *Console) events(r *http.Request, v *visit) (answer, error) {
	filter, q, err := c.eventFilter(r, v)
	if err != nil {
		return answer{}, err
	}
	view := eventsView{Account: q.Get("account"), Type: q.Get("type"), Types: []option{{"", "All that happens"}}, RefreshURL: eventsPath + querySuffix(q)}
	for _, t := range claims.EventTypes() {
		view.Types = append(view.Types, option{string(t), eventChips[t].Text})
		view.Words = append(view.Words, eventWord{string(t), eventChips[t]})
	}
	calls := []apiCall{c.call("These events", http.MethodGet, eventsPath+querySuffix(renamed(q)), "")}
	page := c.live.Events(filter)
	slices.Reverse(page.Events)
	if view.Rows, err = c.eventRows(r.Context(), v, page.Events); err != nil {
		return answer{}, err
	}
	if c.streamEvents != nil {
		q.Set("after", page.Next.String())
		view.StreamURL = eventsPath + "/stream?" + q.Encode()
	}
	if len(view.Rows) == 0 {
		view.Empty = &emptyView{Title: "Nothing has happened yet", Text: "Events are kept in memory since the start of this process: connections, denials, servers, changes and deliveries."}
	}
	return answer{page: "events", title: "Events", tabs: liveTabs("Events"), body: view, calls: calls}, nil
}

// renamed are the filters as the API calls them.
func renamed(q url.Values) url.Values {
	out := url.Values{}
	for name, values := range q {
		out[strings.Replace(name, "type", "types", 1)] = values
	}
	return out
}

func (c *Console) eventRows(ctx context.Context, v *visit, list []claims.Event) ([]eventRow, error) {
	var keys []issuer.PartyKey
	for _, e := range list {
		if k := (issuer.PartyKey{AccountID: e.AccountID}); e.AccountID != "" && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	known, err := c.issuer.Parties(ctx, v.caller, keys)
	if err != nil {
		return nil, err
	}
	out := make([]eventRow, len(list))
	for n, e := range list {
		row := eventRow{At: e.At, Chip: eventChips[e.Type], Who: eventWho(e), Text: eventText(e), Server: e.ServerName, Gap: e.Type == claims.EventGap}
		if name := known[issuer.PartyKey{AccountID: e.AccountID}].Account; name != "" {
			row.Account, row.AccountURL = name, accountURL(e.AccountID)
		} else if e.AccountID != "" {
			row.Account = claims.ShortKey(e.AccountID)
		}
		if e.DenialID != "" {
			row.DenialURL = denialsPath + "/" + e.DenialID
		}
		if e.Type == claims.EventSync && e.Reason == string(claims.DeliveryFailed) {
			row.Chip = chip{toneBad, "Not delivered"}
		}
		out[n] = row
	}
	return out, nil
}

func eventWho(e claims.Event) string {
	who := cmp.Or(e.UserName, e.Client.Client)
	switch {
	case who == "":
		return e.Host
	case e.Host == "":
		return who
	}
	return who + " from " + e.Host
}

func eventText(e claims.Event) string {
	if e.Text != "" {
		return e.Text
	}
	return e.Reason
}

// eventStream goes on where the page ended. It ends when the session does.
func (c *Console) eventStream(r *http.Request, v *visit) (answer, error) {
	if c.streamEvents == nil {
		return c.notFound(r, v)
	}
	filter, _, err := c.eventFilter(r, v)
	if err != nil {
		return answer{}, err
	}
	after := cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("after"))
	var ok bool
	if filter.After, ok = claims.ParseEventID(after); !ok {
		return errorPage(http.StatusUnprocessableEntity, "This is no place in the log of events.", "Open the page of events again."), nil
	}
	filter.Newest = after == ""
	token := ""
	if cookie, err := r.Cookie(c.sessions.Cookie.Name); err == nil {
		token = cookie.Value
	}
	account := searchText(r.URL.Query().Get("account"))
	return answer{download: func(w http.ResponseWriter) (bool, error) {
		return false, c.streamEvents(r.Context(), w, claims.EventStream{Reader: v.caller.ID, Tenant: v.caller.Tenant(), Query: filter, Sight: func(ctx context.Context) (claims.Sight, error) {
			caller, err := c.holder(ctx, token)
			if err != nil {
				return claims.Sight{}, err
			}
			s, err := c.issuer.Sight(ctx, caller, "", account)
			return s.Sight, err
		}})
	}}, nil
}

// holder returns whose session it is, as the store and the person are now.
func (c *Console) holder(ctx context.Context, token string) (issuer.Caller, error) {
	// A context that holds a session is not loaded anew.
	fresh, cancel := context.WithTimeout(context.Background(), liveTimeout)
	defer cancel()
	loaded, err := c.sessions.Load(fresh, token)
	if err != nil {
		return issuer.Caller{}, err
	}
	id := c.sessions.GetString(loaded, keyPerson)
	if id == "" {
		return issuer.Caller{}, errSignedOut
	}
	return c.issuer.Person(ctx, id)
}

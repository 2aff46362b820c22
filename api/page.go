package api

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strconv"

	"chancery/claims"
	"chancery/issuer"
)

const (
	defaultLimit = 50
	maxLimit     = 500
)

// List is the query of every list. It is exported, as all embedded inputs are: huma
// passes over embedded types that are not.
type List struct {
	Limit  int    `query:"limit" default:"50" minimum:"1" doc:"How many to return; more than 500 counts as 500."`
	Cursor string `query:"cursor" maxLength:"1000" doc:"next_cursor of the page before."`
}

// Search is the query of a list that can be searched by name.
type Search struct {
	List
	Q string `query:"q" maxLength:"64" doc:"Keep names that contain this, without regard to case."`
}

// cursor is where the next page starts, and which list it belongs to.
type cursor struct {
	// List binds the cursor to the list and its filters.
	List string `json:"l"`
	Name string `json:"n,omitempty"`
	ID   string `json:"i"`
}

func (c cursor) encode() string {
	b, err := json.Marshal(c)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// position reads a cursor of the list called name.
func (l List) position(name string) (cursor, int, error) {
	limit := min(max(l.Limit, 1), maxLimit)
	if l.Limit == 0 {
		limit = defaultLimit
	}
	if l.Cursor == "" {
		return cursor{List: name}, limit, nil
	}
	var c cursor
	raw, err := base64.RawURLEncoding.DecodeString(l.Cursor)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil || c.List != name || c.ID == "" {
		return c, limit, invalidCursor()
	}
	return c, limit, nil
}

func invalidCursor() error {
	return &issuer.Error{
		Kind: issuer.KindInvalid, Code: "invalid_cursor", Message: "The cursor does not belong to this list.",
		Hint:     "Start again without a cursor; keep the filters as they are from page to page.",
		Problems: claims.Problems{{Pointer: "", Code: "invalid_cursor", Detail: "The cursor was made for another list or other filters.", Blocking: true}},
	}
}

// link returns the URL of a list's next page: its path, segment by segment, and
// its own limit and filters.
func (l List) link(filters url.Values, segments ...string) func(c cursor) string {
	path := Base
	for _, s := range segments {
		path += "/" + url.PathEscape(s)
	}
	return func(c cursor) string {
		q := url.Values{"cursor": {c.encode()}}
		if l.Limit != 0 && l.Limit != defaultLimit {
			q.Set("limit", strconv.Itoa(l.Limit))
		}
		for k, v := range filters {
			if v[0] != "" {
				q[k] = v
			}
		}
		return path + "?" + q.Encode()
	}
}

// pageOf returns the store's page of a list by name, asking for one row more.
func (s Search) pageOf(name string) (issuer.Page, error) {
	c, limit, err := s.position(name + "?q=" + s.Q)
	return issuer.Page{AfterName: c.Name, AfterID: c.ID, Limit: limit + 1, Search: s.Q}, err
}

// Page is one page of a list.
type Page[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor" doc:"Empty on the last page; that is the only sign of the end."`
}

// paged is the answer of every list.
type paged[T any] struct {
	Link string `header:"Link" doc:"rel=next, as in RFC 8288."`
	Body Page[T]
}

// turn makes an answer of rows, of which there may be one too many; next is the URL
// of the page after a row, whose place key tells.
func turn[R, T any](rows []R, limit int, next func(cursor) string, view func(R) T, key func(R) cursor) *paged[T] {
	out := &paged[T]{Body: Page[T]{Items: make([]T, 0, min(len(rows), limit))}}
	for n, r := range rows {
		if n == limit {
			c := key(rows[limit-1])
			out.Body.NextCursor = c.encode()
			out.Link = "<" + next(c) + `>; rel="next"`
			break
		}
		out.Body.Items = append(out.Body.Items, view(r))
	}
	return out
}

package issuer

import (
	"context"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
)

// accessOf is the access that is asked for one subject.
func (in ShareInput) accessOf(f claims.Flow) Access {
	if f.TokenPosition > 0 {
		return AccessTokenPosition
	}
	return in.Access
}

// underKey puts the importer's key into its place in a subject.
func underKey(subject jwt.Subject, position uint, importer string) (jwt.Subject, error) {
	tokens := strings.Split(string(subject), ".")
	if position > uint(len(tokens)) || (tokens[position-1] != "*" && tokens[position-1] != importer) {
		return "", invalidField("/subject", "account_token", "The export gives each importer its own subject: write * at the place of the importer's key.")
	}
	tokens[position-1] = importer
	return jwt.Subject(strings.Join(tokens, ".")), nil
}

// covering returns the export that the import is held against, nil for none.
func (s *sharePlan) covering(m *jwt.Import) *Export {
	from := &jwt.AccountClaims{}
	for _, e := range s.exports {
		from.Exports = append(from.Exports, &e.Body)
	}
	if found := claims.ExportOf(from, m); found != nil {
		return s.exports[slices.Index(from.Exports, found)]
	}
	return nil
}

// offer makes an export of what is to be shared.
func (s *sharePlan) offer(ctx context.Context, w *work, in ShareInput, f claims.Flow) (*Export, error) {
	x := exportEdit{account: s.exporter, after: &Export{AccountID: s.exporter.ID, Version: 1, Created: w.Now(), Updated: w.Now(), Body: jwt.Export{
		Name: f.Name, Subject: jwt.Subject(f.Subject), Type: f.Kind, ResponseType: f.Response, AllowTrace: in.AllowTrace && f.Kind == jwt.Service,
	}}}
	body := &x.after.Body
	switch in.accessOf(f) {
	case AccessActivation, "":
		body.TokenReq = true
	case AccessPublic:
	case AccessTokenPosition:
		if body.AccountTokenPosition = f.TokenPosition; f.TokenPosition == 0 {
			return nil, invalidField("/account_token_position", "required", "Say at which place of the subject, counted from 1, the importer's key stands.")
		}
	default:
		return nil, invalidField("/access", "unknown_value", "Access is public, activation or token_position.")
	}
	var err error
	if x.after.ID, err = w.NewID("exp_"); err != nil {
		return nil, err
	}
	if err := x.inherit(ctx, w); err != nil {
		return nil, err
	}
	s.exports = append(s.exports, x.after)
	return x.after, nil
}

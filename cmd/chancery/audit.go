package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"chancery/api"
	"chancery/issuer"
	"chancery/store"
)

// auditCommand reads, exports and verifies the audit log.
type auditCommand struct {
	Ls     auditListCommand   `cmd:"" help:"List entries, the newest first."`
	Show   auditShowCommand   `cmd:"" help:"Show an entry: what changed, and how far it got on the servers."`
	Tail   auditTailCommand   `cmd:"" help:"Print the newest entries, and those that follow."`
	Export auditExportCommand `cmd:"" help:"Write all entries, the oldest first, as JSON lines or as a table."`
	Verify auditVerifyCommand `cmd:"" help:"Verify the chain of all entries and say where it was tampered with. Exit code 2: it was."`
	Key    auditKeyCommand    `cmd:"" help:"Print the key that verifies checkpoints, to be kept elsewhere."`
}

// auditFlags keep some of the entries.
type auditFlags struct {
	Account   string `help:"Of this account, by name or public key." placeholder:"ACCOUNT"`
	Operator  string `help:"Of this operator and its accounts." placeholder:"OPERATOR"`
	Actor     string `help:"Done by this identity, such as per_… or tok_…" placeholder:"ID"`
	Action    string `help:"What was done: create, update, revoke…" placeholder:"VERB"`
	Kind      string `help:"To what kind of thing: account, user, template…" placeholder:"NOUN"`
	Target    string `help:"To what, by identity." placeholder:"ID"`
	Outcome   string `help:"done or denied." placeholder:"OUTCOME"`
	RequestID string `help:"Of one request." placeholder:"ID"`
	Since     string `help:"From this moment on: a time such as 2026-11-21T10:00:00Z, or a duration back from now such as 24h." placeholder:"TIME"`
	Until     string `help:"From before this moment." placeholder:"TIME"`
	Search    string `help:"Whose reason or target contains this." short:"q" placeholder:"TEXT"`
}

func (f auditFlags) query(env environment) (url.Values, error) {
	q := url.Values{}
	for name, value := range map[string]string{
		"account": f.Account, "operator": f.Operator, "actor": f.Actor, "action": f.Action, "target_kind": f.Kind, "target": f.Target, "outcome": f.Outcome,
		"request_id": f.RequestID, "q": f.Search,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, value := range map[string]string{"at_after": f.Since, "at_before": f.Until} {
		if value == "" {
			continue
		}
		at, err := moment(value, env.now())
		if err != nil {
			return nil, usage(err)
		}
		q.Set(name, at.UTC().Format(time.RFC3339Nano))
	}
	return q, nil
}

// moment reads a time, or a duration back from now.
func moment(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return at, errors.New("a time is written like 2026-11-21T10:00:00Z, or as a duration back from now like 24h")
	}
	return at, nil
}

// auditPage reads a page of the log.
func (c *client) auditPage(ctx context.Context, q url.Values) (api.Page[api.AuditEntry], error) {
	var p api.Page[api.AuditEntry]
	err := c.ask(ctx, apiCall{method: http.MethodGet, path: "/audit?" + q.Encode()}, &p)
	return p, err
}

type auditListCommand struct {
	clientFlags
	auditFlags
	Limit int  `help:"How many, at most 500." default:"50"`
	JSON  bool `help:"Print one JSON object." name:"json"`
}

func (c *auditListCommand) run(ctx context.Context, env environment) error {
	cl, err := c.client(env)
	if err != nil {
		return err
	}
	q, err := c.query(env)
	if err != nil {
		return err
	}
	q.Set("limit", strconv.Itoa(c.Limit))
	p, err := cl.auditPage(ctx, q)
	if err != nil {
		return err
	}
	return printAnswer(env, c.JSON, auditList(p))
}

// auditList is a page of the log as it is printed.
type auditList api.Page[api.AuditEntry]

func (l auditList) print(p page) {
	for _, e := range l.Items {
		p.auditLine(e)
	}
	switch {
	case len(l.Items) == 0:
		p.line("No entries.")
	case l.NextCursor != "":
		p.line(p.paint(faint, fmt.Sprintf("There are more. From before these: --until %s", l.Items[len(l.Items)-1].At.Format(time.RFC3339Nano))))
	}
}

func (p page) auditLine(e api.AuditEntry) {
	outcome := ""
	if e.Outcome != "done" {
		outcome = p.paint(red, "  "+e.Outcome)
	}
	where := ""
	if e.Account != "" && e.TargetKind != "account" {
		where = " in " + plain(e.Account)
	}
	reason := ""
	if e.Reason != "" {
		reason = p.paint(faint, "  “"+plain(e.Reason)+"”")
	}
	p.line(p.paint(faint, fmt.Sprintf("%6d  %s  ", e.Seq, e.At.Format(time.DateTime))), plain(cmp.Or(e.ActorName, e.Actor)), "  ", p.paint(bold, plain(e.Action)), " ",
		plain(e.TargetKind), " ", plain(cmp.Or(e.TargetName, e.Target)), where, outcome, reason)
}

type auditShowCommand struct {
	clientFlags
	JSON  bool   `help:"Print one JSON object." name:"json"`
	Entry string `arg:"" help:"The entry's number or id."`
}

func (c *auditShowCommand) run(ctx context.Context, env environment) error {
	cl, err := c.client(env)
	if err != nil {
		return err
	}
	var r auditRecord
	if err := cl.ask(ctx, apiCall{method: http.MethodGet, path: "/audit/" + url.PathEscape(c.Entry)}, &r.AuditRecord); err != nil {
		return err
	}
	return printAnswer(env, c.JSON, r)
}

// auditRecord is an entry as it is printed.
type auditRecord struct{ api.AuditRecord }

func (r auditRecord) print(p page) {
	p.auditLine(r.AuditEntry)
	p.line("        request ", cmp.Or(plain(r.RequestID), "none"))
	for _, c := range r.Changes {
		text := c.Text
		if text == "" {
			text = fmt.Sprintf("%s: %v → %v", c.Path, none(c.From), none(c.To))
		}
		p.line("        ", plain(text))
	}
	for _, d := range r.Deliveries {
		p.line("        ", plain(d.Account), fmt.Sprintf(" at revision %d", d.Revision))
		for _, s := range d.Servers {
			since, later := "", ""
			if s.Since != nil {
				since = " since " + s.Since.Format(time.DateTime)
			}
			if s.Later {
				later = fmt.Sprintf(", at the later revision %d", s.Revision)
			}
			p.line("          ", plain(s.Name), "  ", strings.ReplaceAll(s.State, "_", " "), since, later)
		}
	}
}

func none(v any) any {
	if v == nil {
		return "none"
	}
	return v
}

type auditTailCommand struct {
	clientFlags
	auditFlags
	Lines int  `help:"How many to begin with, at most 500." short:"n" default:"10"`
	Once  bool `help:"Do not wait for those that follow."`
	JSONL bool `help:"Print one JSON object a line." name:"jsonl"`
}

// tailEvery is how often it is looked for new entries.
const tailEvery = time.Second

func (c *auditTailCommand) run(ctx context.Context, env environment) error {
	cl, err := c.client(env)
	if err != nil {
		return err
	}
	q, err := c.query(env)
	if err != nil {
		return err
	}
	p := newPage(env)
	out := json.NewEncoder(env.stdout)
	out.SetEscapeHTML(false)
	last := int64(0)
	q.Set("limit", strconv.Itoa(min(max(c.Lines, 1), 500)))
	for {
		news, err := cl.since(ctx, q, last)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range news {
			last = e.Seq
			if !c.JSONL {
				p.auditLine(e)
			} else if err := out.Encode(e); err != nil {
				return err
			}
		}
		if c.Once {
			return nil
		}
		q.Set("limit", "500")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(tailEvery):
		}
	}
}

// since returns the entries that came after the number last, the oldest first; with 0
// those of one page.
func (c *client) since(ctx context.Context, q url.Values, last int64) ([]api.AuditEntry, error) {
	var news []api.AuditEntry
	q.Del("cursor")
	for {
		p, err := c.auditPage(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, e := range p.Items {
			if e.Seq > last {
				news = append(news, e)
			}
		}
		n := len(p.Items)
		if last == 0 || p.NextCursor == "" || n == 0 || p.Items[n-1].Seq <= last {
			slices.Reverse(news)
			return news, nil
		}
		q.Set("cursor", p.NextCursor)
	}
}

type auditExportCommand struct {
	clientFlags
	auditFlags
	Format string `help:"ndjson or csv." default:"ndjson" enum:"ndjson,csv"`
	Output string `help:"File to write to, - for standard output." short:"o" default:"-" placeholder:"FILE"`
}

func (c *auditExportCommand) run(ctx context.Context, env environment) error {
	cl, err := c.client(env)
	if err != nil {
		return err
	}
	q, err := c.query(env)
	if err != nil {
		return err
	}
	q.Set("format", c.Format)
	if c.Output == "-" {
		return cl.stream(ctx, "/audit/export?"+q.Encode(), env.stdout)
	}
	// Whoever finds the file finds all of it.
	part := c.Output + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	err = cl.stream(ctx, "/audit/export?"+q.Encode(), f)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return os.Rename(part, c.Output)
}

type auditKeyCommand struct {
	clientFlags
	JSON bool `help:"Print the key and a checkpoint of the log as it ends now, as one JSON object." name:"json"`
}

func (c *auditKeyCommand) run(ctx context.Context, env environment) error {
	cl, err := c.client(env)
	if err != nil {
		return err
	}
	var a auditKey
	if err := cl.ask(ctx, apiCall{method: http.MethodGet, path: "/audit/checkpoint"}, &a.AuditCheckpoint); err != nil {
		return err
	}
	return printAnswer(env, c.JSON, a)
}

type auditKey struct{ api.AuditCheckpoint }

func (a auditKey) print(p page) { p.line(a.Verifier) }

type auditVerifyCommand struct {
	clientFlags
	configFlags
	Local       bool   `help:"In the database of a configuration, without a server; one that holds the SQLite file has to be stopped."`
	Checkpoints string `help:"A checkpoint file, or a copy that was kept elsewhere." type:"path" placeholder:"FILE"`
	Key         string `help:"The key that signed it, as chancery audit key printed it." placeholder:"VERIFIER"`
	JSON        bool   `help:"Print one JSON object." name:"json"`
}

// Help is printed by --help.
func (auditVerifyCommand) Help() string {
	return `Examples:

  chancery audit verify
  chancery audit verify --checkpoints /mnt/elsewhere/checkpoints.ndjson --key "$(cat /mnt/elsewhere/verifier)"
  chancery audit verify --local --config chancery.yaml`
}

func (c *auditVerifyCommand) run(ctx context.Context, env environment) error {
	file, err := c.checkpointFile()
	if err != nil {
		return err
	}
	var v api.AuditVerification
	if c.Local {
		v, err = c.local(ctx, env, file.Checkpoints)
	} else {
		v, err = c.remote(ctx, env, file.Checkpoints)
	}
	if err != nil {
		return err
	}
	v.Foreign, v.TornLines = v.Foreign+file.Foreign, v.TornLines+file.Torn
	v.Whole = v.Whole && file.Foreign == 0
	return errors.Join(printAnswer(env, c.JSON, verification(v)), no(!v.Whole))
}

// checkpointFile reads what was kept elsewhere.
func (c *auditVerifyCommand) checkpointFile() (issuer.CheckpointFile, error) {
	switch {
	case c.Checkpoints == "" && c.Key == "":
		return issuer.CheckpointFile{}, nil
	case c.Checkpoints == "" || c.Key == "":
		return issuer.CheckpointFile{}, usage(errors.New("--checkpoints and --key belong together: a checkpoint is worth what the key is worth that verifies it"))
	case issuer.CheckVerifier(c.Key) != nil:
		return issuer.CheckpointFile{}, usage(errors.New("--key is not a verifier key, as chancery audit key prints it"))
	}
	f, err := os.Open(c.Checkpoints)
	if err != nil {
		return issuer.CheckpointFile{}, fmt.Errorf("reading checkpoints: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	return issuer.ReadCheckpoints(func(each func([]byte) error) error { return issuer.CheckpointLines(f, each) }, c.Key)
}

func (c *auditVerifyCommand) local(ctx context.Context, env environment, kept []store.Checkpoint) (v api.AuditVerification, err error) {
	host := hostCommand{c.configFlags}
	err = host.with(ctx, env, func(i *issuer.Issuer, _ config) error {
		found, err := i.VerifyAudit(ctx, issuer.System("audit-verify"), kept)
		v = api.ViewVerification(found)
		return err
	})
	return v, err
}

// sentCheckpoints is how many a request carries: the last one finds what was rewritten
// or cut off, those before tell from where on.
const sentCheckpoints = 1000

func (c *auditVerifyCommand) remote(ctx context.Context, env environment, kept []store.Checkpoint) (api.AuditVerification, error) {
	var v api.AuditVerification
	cl, err := c.client(env)
	if err != nil {
		return v, err
	}
	cl.timeout = 10 * time.Minute
	every := 1 + len(kept)/sentCheckpoints
	question := map[string][]api.KeptCheckpoint{"checkpoints": {}}
	for n, x := range kept {
		if (len(kept)-1-n)%every == 0 {
			question["checkpoints"] = append(question["checkpoints"], api.KeptCheckpoint{Seq: x.Seq, Hash: fmt.Sprintf("%x", x.Hash), At: x.At})
		}
	}
	return v, cl.post(ctx, "/audit/verification", question, &v)
}

// verification is one as it is printed.
type verification api.AuditVerification

func (v verification) print(p page) {
	switch {
	case v.Whole:
		p.line(p.paint(green, "whole"), fmt.Sprintf(": %d entries up to number %d, %d checkpoints compared", v.Entries, v.Seq, v.Checkpoints))
	default:
		p.line(p.paint(red, "BROKEN"), fmt.Sprintf(": %d entries up to number %d, %d checkpoints compared", v.Entries, v.Seq, v.Checkpoints))
	}
	for _, f := range v.Faults {
		p.line(fmt.Sprintf("  %8d  ", f.Seq), p.paint(red, f.Kind), "  ", f.Detail)
	}
	if v.MoreFaults > 0 {
		p.line(fmt.Sprintf("  and %d more", v.MoreFaults))
	}
	if v.Foreign > 0 {
		p.line("  ", counted(v.Foreign, "line"), " of the checkpoint file not signed by the key")
	}
	if v.TornLines > 0 {
		p.line(p.paint(faint, "  "+counted(v.TornLines, "line")+" of the checkpoint file not written to the end, as in a crash"))
	}
}

// stream copies the answer of a long operation.
func (c *client) stream(ctx context.Context, path string, to io.Writer) error {
	resp, err := c.send(ctx, apiCall{method: http.MethodGet, path: path})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(to, resp.Body); err != nil {
		return &exitError{fmt.Errorf("the answer of the control plane ended early; what was written is a part: %w", err), exitUnreachable}
	}
	return nil
}

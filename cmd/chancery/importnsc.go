package main

import (
	"bufio"
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

	"golang.org/x/term"

	"chancery/api"
	"chancery/claims/nsc"
)

// importCommand takes over what another tool keeps.
type importCommand struct {
	NSC importNSCCommand `cmd:"" name:"nsc" help:"Take over a store of nsc: pack it here, have Chancery check it, show what would happen, ask, and take it in. Exit code 2: a dry run found problems or conflicts, or you said no; 3: done, but for some accounts; 4: it changed meanwhile, or cannot be taken in."`
}

type importNSCCommand struct {
	clientFlags
	Dir         string `help:"nsc's data directory, or its directory of stores; without it nsc's usual place." type:"path" placeholder:"DIR"`
	KeystoreDir string `help:"nsc's directory of keys, where it is not beside the stores." type:"path" placeholder:"DIR"`
	Operator    string `help:"Name of the operator, among several." placeholder:"NAME"`
	Observe     bool   `help:"Read and serve everything, and change nothing: no seed is taken over. Can be adopted later."`
	DryRun      bool   `help:"Show what would happen; Chancery keeps nothing."`
	NoSeeds     bool   `help:"Leave all seeds here. What Chancery has no key of, it cannot change."`
	FromServers bool   `help:"Ask the servers that the operator names what they have of each account, and take what is newer."`
	Yes         bool   `help:"Take it in without asking."`
	Reason      string `help:"Goes on record." placeholder:"WORDS"`
	JSON        bool   `help:"Print the job as one JSON object." name:"json"`
}

func (c *importNSCCommand) run(ctx context.Context, env environment) error {
	cl, err := c.client(env)
	if err != nil {
		return err
	}
	packed, err := c.pack(ctx, env)
	if err != nil {
		return err
	}
	fmt.Fprintln(env.stderr, "Chancery checks it…")
	job, err := c.upload(ctx, cl, packed)
	if err != nil {
		return err
	}
	review := importAnswer{ImportJob: job, left: packed.Problems, unsent: c.Observe || c.NoSeeds}
	if c.DryRun {
		if err := printAnswer(env, c.JSON, review); err != nil {
			return err
		}
		return no(review.doubtful())
	}
	if !c.JSON {
		if err := printAnswer(env, false, review); err != nil {
			return err
		}
	}
	if !c.Yes && !agreesTo(env, c.question(job)) {
		return errors.Join(&exitError{errors.New("nothing was taken in"), exitNo}, cl.dropJob(context.WithoutCancel(ctx), job.ID))
	}
	job, err = c.take(ctx, env, cl, job)
	if err != nil {
		return err
	}
	done := importDone{importAnswer{ImportJob: job}, c.next(ctx, cl, job)}
	if err := printAnswer(env, c.JSON, done); err != nil {
		return err
	}
	if review.leavesOut() {
		return &exitError{nil, exitPartial}
	}
	return nil
}

// pack finds the store and packs it.
func (c *importNSCCommand) pack(ctx context.Context, env environment) (packed nsc.Packed, err error) {
	files, err := openNSCFiles(env, c.Dir, c.KeystoreDir)
	if err != nil {
		return packed, err
	}
	defer func() { err = errors.Join(err, files.close()) }()
	operator, err := files.operator(c.Operator, func(names []string, set string) string { return chooseOperator(env, names, set) })
	if err != nil {
		return packed, err
	}
	p := nsc.Packing{Operator: operator, Seeds: !c.NoSeeds && !c.Observe}
	if c.FromServers {
		store, err := nsc.Read(files.dirs(), operator)
		if err != nil {
			return packed, err
		}
		asking := newProgress(env, "asking servers")
		h := fromServers(ctx, store, asking.show)
		asking.end()
		h.print(page{w: env.stderr})
		p.Servers = h.texts()
	}
	packing := newProgress(env, "packing")
	p.Progress = packing.show
	packed, err = nsc.Pack(files.dirs(), p)
	packing.end()
	if err != nil {
		return packed, err
	}
	text := page{w: env.stderr}
	text.line("Packed ", plain(operator), " from ", files.name, ": ", counted(packed.JWTs, "JWT"), " and ", counted(packed.Seeds, "seed"), ", ", strconv.Itoa(len(packed.Archive.Reveal())/1024+1), " KiB.")
	text.line("Seeds and creds of users stay here.")
	if p.Seeds && files.keysRoot == nil {
		text.line("No directory of keys was found: name it with --keystore-dir, or nothing can be signed.")
	}
	return packed, ctx.Err()
}

func (h *held) print(p page) {
	for _, s := range h.asked {
		p.line("Asked: ", s, ".")
	}
	for _, s := range h.notes {
		p.line(plain(s))
	}
}

// uploadTimeout is for an archive over a slow line.
const uploadTimeout = 5 * time.Minute

func (c *importNSCCommand) upload(ctx context.Context, cl *client, packed nsc.Packed) (api.ImportJob, error) {
	q := url.Values{}
	if c.DryRun {
		q.Set("dry_run", "true")
	}
	if c.Reason != "" {
		q.Set("reason", c.Reason)
	}
	var job api.ImportJob
	err := cl.ask(ctx, apiCall{
		method: http.MethodPost, path: "/import-jobs?" + q.Encode(), body: []byte(packed.Archive.Reveal()), media: "application/gzip",
		timeout: uploadTimeout, most: nsc.MaxArchive,
	}, &job)
	return job, err
}

func (c *client) dropJob(ctx context.Context, id string) error {
	_, err := c.call(ctx, apiCall{method: http.MethodDelete, path: "/import-jobs/" + url.PathEscape(id), most: nsc.MaxArchive})
	return err
}

func (c *importNSCCommand) mode() string {
	if c.Observe {
		return "observe"
	}
	return "adopt"
}

func (c *importNSCCommand) question(job api.ImportJob) string {
	var names []string
	for _, o := range job.Report.Operators {
		names = append(names, plain(o.Name))
	}
	if c.Observe {
		return "Read and serve " + strings.Join(names, ", ") + ", changing nothing?"
	}
	return "Adopt " + strings.Join(names, ", ") + "? From then on Chancery keeps its accounts; do not change them with nsc any more."
}

// importPause is how often the job is asked how far it is.
const importPause = 250 * time.Millisecond

// take has the job run and waits for its end.
func (c *importNSCCommand) take(ctx context.Context, env environment, cl *client, job api.ImportJob) (api.ImportJob, error) {
	body, err := json.Marshal(api.RunImportInput{Mode: c.mode(), PlanHash: job.Report.PlanHash, Reason: c.Reason})
	if err != nil {
		return job, fmt.Errorf("writing the request: %w", err)
	}
	at := "/import-jobs/" + url.PathEscape(job.ID)
	if err := cl.ask(ctx, apiCall{method: http.MethodPut, path: at + "/run", body: body, most: nsc.MaxArchive}, &job); err != nil {
		return job, errors.Join(err, cl.dropJob(context.WithoutCancel(ctx), job.ID))
	}
	progress := newProgress(env, "importing")
	defer progress.end()
	pause := time.NewTicker(importPause)
	defer pause.Stop()
	for job.State == "running" {
		progress.show(job.Done, job.Total)
		select {
		case <-ctx.Done():
			return job, &exitError{fmt.Errorf("stopped waiting: Chancery goes on with %s; the console shows how far it is", job.ID), exitInterrupted}
		case <-pause.C:
		}
		if err := cl.ask(ctx, apiCall{method: http.MethodGet, path: at, most: nsc.MaxArchive}, &job); err != nil {
			return job, err
		}
	}
	progress.show(job.Done, job.Total)
	if job.State != "done" {
		return job, fmt.Errorf("the import failed: %s What was taken in before stays; run the same command again to go on", plain(job.Error))
	}
	return job, nil
}

// importNext is what a person does next.
type importNext struct {
	Operator, Resolver string
}

func (c *importNSCCommand) next(ctx context.Context, cl *client, job api.ImportJob) []importNext {
	var out []importNext
	for _, o := range job.Report.Operators {
		if o.State == "left_out" {
			continue
		}
		n := importNext{Operator: plain(o.Name)}
		var conf api.ServerConfig
		if cl.ask(ctx, apiCall{method: http.MethodGet, path: "/operators/" + url.PathEscape(o.ID) + "/server-config", accept: "application/json"}, &conf) == nil {
			n.Resolver = conf.ResolverURL
		}
		out = append(out, n)
	}
	return out
}

// chooseOperator asks which of several operators is meant, on a terminal only.
func chooseOperator(env environment, names []string, set string) string {
	f, ok := env.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) { //nolint:gosec // a file descriptor is small
		return ""
	}
	p := page{w: env.stderr}
	p.line("There are several operators:")
	for n, name := range names {
		mark := ""
		if name == set {
			mark = "  (nsc is set to it)"
		}
		p.line("  ", strconv.Itoa(n+1), "  ", plain(name), mark)
	}
	fmt.Fprint(env.stderr, "Which one? Type its number or name: ")
	line := typed(env)
	if n, err := strconv.Atoi(line); err == nil && n >= 1 && n <= len(names) && !slices.Contains(names, line) {
		return names[n-1]
	}
	if slices.Contains(names, line) {
		return line
	}
	return ""
}

// typed is one line of standard input; no answer is "".
func typed(env environment) string {
	if env.stdin == nil {
		return ""
	}
	line, _ := bufio.NewReader(io.LimitReader(env.stdin, 256)).ReadString('\n')
	return strings.TrimSpace(line)
}

// agreesTo asks on standard error and takes only yes for yes.
func agreesTo(env environment, question string) bool {
	fmt.Fprint(env.stderr, "\n"+question+" Type yes: ")
	return typed(env) == "yes"
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// importDone is how an import ended.
type importDone struct {
	importAnswer
	next []importNext
}

func (a importDone) print(p page) {
	accounts, users := 0, 0
	for _, o := range a.Report.Operators {
		for _, x := range o.Accounts {
			if x.State != "left_out" {
				accounts++
				users += x.Users
			}
		}
	}
	p.line("")
	p.line(p.paint(green, "Done: "), counted(accounts, "account"), " and ", counted(users, "user"), ", in ", max(a.UpdatedAt.Sub(a.CreatedAt), 100*time.Millisecond).Round(100*time.Millisecond).String(), ".")
	for _, n := range a.next {
		if n.Resolver != "" {
			p.line("Accounts of ", n.Operator, " are served byte for byte as they came, until you change one, at ", n.Resolver)
			p.line("Next: have each nats-server ask there (resolver: URL(\"", n.Resolver, "\")), and reload it. All the lines: chancery server-config ", n.Operator)
		}
	}
	if a.Mode == "observe" {
		p.line("Nothing can be changed here yet. To take it over: chancery import nsc, without --observe.")
	}
}

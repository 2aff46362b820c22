package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"chancery/issuer"
)

// importsPath is where uploaded stores are listed; below it, uploadPath takes one.
const (
	importsPath = "/import-jobs"
	uploadPath  = importsPath + "/new"
)

func importURL(id string, rest ...string) string {
	return joinURL(append([]string{"import-jobs", id}, rest...))
}

func importCrumbs(more ...link) []link {
	return append([]link{{"Operators", "/operators"}, {"Imports", importsPath}}, more...)
}

// importsView is the list of uploaded stores.
type importsView struct {
	Rows   []importRow
	CanAdd bool
	Pager  pager
}

type importRow struct {
	Names, URL, Mode, By string
	State                chip
	Done, Total          int64
	Uploaded             time.Time
}

func (c *Console) importJobs(r *http.Request, v *visit) (answer, error) {
	before := r.URL.Query().Get("before")
	if !strings.HasPrefix(before, "job_") || len(before) > 64 || !utf8.ValidString(before) {
		before = ""
	}
	list, err := c.issuer.ListImportJobs(r.Context(), v.caller, issuer.LedgerPage{Before: before, Limit: pageSize + 1})
	if err != nil {
		return answer{}, err
	}
	list, more := cut(list, pageSize)
	view := importsView{CanAdd: v.imports()}
	known := map[string]string{}
	for _, j := range list {
		view.Rows = append(view.Rows, importRow{
			Names: importNames(j), URL: importURL(j.ID), Mode: string(j.Mode), By: c.actor(r.Context(), known, j.Actor), State: jobChip(j),
			Done: j.Done, Total: j.Total, Uploaded: j.Created,
		})
	}
	if before != "" {
		view.Pager.First = importsPath
	}
	if more {
		view.Pager.Next = importsPath + "?before=" + url.QueryEscape(list[len(list)-1].ID)
	}
	return answer{
		page: "imports", title: "Imports", crumbs: []link{{"Operators", "/operators"}}, body: view,
		calls: []apiCall{c.call("This list", http.MethodGet, "/import-jobs", "")},
	}, nil
}

// importNames are the operators of an archive.
func importNames(j issuer.ImportJob) string {
	var names []string
	for _, o := range j.Report.Operators {
		names = append(names, cmp.Or(o.Name, o.Store))
	}
	return cmp.Or(strings.Join(names, ", "), "no operator")
}

func jobChip(j issuer.ImportJob) chip {
	switch j.State {
	case issuer.ImportRunning:
		return chip{tonePart, "Running"}
	case issuer.ImportDone:
		return chip{toneGood, "Done"}
	case issuer.ImportFailed:
		return chip{toneBad, "Failed"}
	}
	return chip{toneWait, "To be decided"}
}

func importedChip(s issuer.ImportedState) chip {
	switch s {
	case issuer.ImportNew:
		return chip{toneGood, "New"}
	case issuer.ImportNewer:
		return chip{tonePart, "Newer than here"}
	case issuer.ImportNewerHere:
		return chip{toneWait, "Newer here: stays"}
	case issuer.ImportDiffers:
		return chip{toneBad, "Conflict: stays"}
	case issuer.ImportLeftOut:
		return chip{toneBad, "Left out"}
	}
	return chip{toneOff, "As it is here"}
}

// importJobView is the page of one uploaded store: its review, how far it is, or how it
// ended.
type importJobView struct {
	Names, URL string
	State      chip
	// Checked, Running, Done and Failed are the states; one of them is true.
	Checked, Running, Done, Failed bool
	Mode                           string
	Count, Total, Percent          int64
	Error                          string
	Uploaded, Expires              time.Time
	Facts                          []limitRow
	Operators                      []importedOperatorView
	Problems                       []string
	CanRun, CanDrop                bool
	// LeftOut is how many accounts are not taken in.
	LeftOut int
	Pager   pager
}

type importedOperatorView struct {
	Name, Key, URL string
	State          chip
	Facts          []limitRow
	Keys           []importedKeyRow
	Impact         []impact
	Accounts       []importedAccountRow
	// Shown says which of how many accounts are in the table.
	Shown    string
	Problems []string
	// Resolver is where servers ask for its accounts once it is here.
	Resolver string
}

type importedKeyRow struct {
	Key, Use string
	Seed     chip
}

type importedAccountRow struct {
	Name, URL, From, Seeds, Notes string
	System                        bool
	State                         chip
	Users                         int
	Problems                      []string
}

// importEvery is how many seconds a page waits that shows how far a job is.
const importEvery = 2

func (c *Console) importJob(r *http.Request, v *visit) (answer, error) {
	j, err := c.issuer.GetImportJob(r.Context(), v.caller, r.PathValue("job"))
	if err != nil {
		return answer{}, err
	}
	view := c.viewImport(r, v, j)
	a := answer{page: "import", title: "Import of " + view.Names, crumbs: importCrumbs(), body: view, calls: []apiCall{
		c.call("This import", http.MethodGet, "/import-jobs/"+j.ID, ""),
	}}
	if view.Checked {
		a.calls = append(a.calls, c.call("Take it in", http.MethodPut, "/import-jobs/"+j.ID+"/run", `{"mode":"adopt","plan_hash":"`+j.Report.PlanHash+`"}`))
	}
	if view.Running {
		a.refresh = importEvery
	}
	return a, nil
}

func (c *Console) viewImport(r *http.Request, v *visit, j issuer.ImportJob) importJobView {
	view := importJobView{
		Names: importNames(j), URL: importURL(j.ID), State: jobChip(j), Mode: string(j.Mode), Error: j.Error, Count: j.Done, Total: j.Total,
		Checked: j.State == issuer.ImportChecked, Running: j.State == issuer.ImportRunning, Done: j.State == issuer.ImportDone, Failed: j.State == issuer.ImportFailed,
		CanDrop: v.imports(), Uploaded: j.Created, Expires: j.Expires,
	}
	if j.Total > 0 {
		view.Percent = 100 * j.Done / j.Total
	}
	view.Facts = []limitRow{
		{Name: "By", Value: c.actor(r.Context(), map[string]string{}, j.Actor)}, {Name: "SHA-256", Value: j.Report.SHA256},
	}
	if j.Reason != "" {
		view.Facts = append(view.Facts, limitRow{Name: "Reason", Value: j.Reason})
	}
	view.Problems = problemSentences(j.Report.Problems)
	after, _ := strconv.Atoi(r.URL.Query().Get("after")) // nonsense is the start
	for _, o := range j.Report.Operators {
		x := c.importedOperator(o, max(after, 0), &view.Pager, view.URL)
		if view.Done && o.State != issuer.ImportLeftOut {
			x.URL = operatorURL(o.ID)
			if conf, err := c.issuer.ServerConfig(r.Context(), v.caller, o.ID, c.resolverURL); err == nil {
				x.Resolver = conf.ResolverURL
			}
		}
		view.CanRun = view.CanRun || view.Checked && view.CanDrop && o.State != issuer.ImportLeftOut
		view.Operators = append(view.Operators, x)
		for _, a := range o.Accounts {
			if a.State == issuer.ImportLeftOut || a.State == issuer.ImportDiffers {
				view.LeftOut++
			}
		}
	}
	return view
}

// problemSentences are problems with their files, in words.
func problemSentences(list []issuer.ImportProblem) []string {
	var out []string
	for _, p := range list {
		s := p.Detail
		if p.Path != "" {
			s = p.Path + ": " + s
		}
		if p.Count > 1 {
			s += " (" + formatCount(int64(p.Count)) + " times)"
		}
		out = append(out, s)
	}
	return out
}

func (c *Console) importedOperator(o issuer.ImportedOperator, after int, p *pager, here string) importedOperatorView {
	view := importedOperatorView{
		Name: cmp.Or(o.Name, o.Store), Key: o.ID, State: importedChip(o.State), Problems: problemSentences(o.Problems), Impact: importImpact(o),
		Facts: []limitRow{
			{Name: "Strict signing keys", Value: yesNo(o.Strict)}, {Name: "Seeds found", Value: formatCount(int64(o.SeedsFound))}, {Name: "Seeds elsewhere", Value: formatCount(int64(o.SeedsMissing))},
		},
	}
	if o.Managed {
		view.Facts = append(view.Facts, limitRow{Name: "Managed", Value: "nsc had its accounts signed by somebody else"})
	}
	if o.Custody != "" {
		view.Facts = append(view.Facts, limitRow{Name: "Here already", Value: custodyWords(o.Custody)})
	}
	if len(o.Unknown) > 0 {
		view.Facts = append(view.Facts, limitRow{Name: "Fields unknown here", Value: strings.Join(o.Unknown, ", ") + " (kept as they are)"})
	}
	if o.ID != "" {
		view.Keys = append(view.Keys, importedKeyRow{o.ID, "Identity key", seedChip(o.IdentitySeed)})
	}
	for _, k := range o.SigningKeys {
		view.Keys = append(view.Keys, importedKeyRow{k.ID, "Signing key", seedChip(k.Seed)})
	}
	accounts := slices.Clone(o.Accounts)
	slices.SortStableFunc(accounts, func(a, b issuer.ImportedAccount) int { return cmp.Compare(attention(b), attention(a)) })
	first := min(after, len(accounts))
	last := min(first+pageSize, len(accounts))
	for _, a := range accounts[first:last] {
		view.Accounts = append(view.Accounts, importedAccount(a))
	}
	if len(accounts) > pageSize {
		view.Shown = formatCount(int64(first+1)) + " to " + formatCount(int64(last)) + " of " + formatCount(int64(len(accounts))) + ", what needs a look first"
	}
	if first > 0 {
		p.First = here
	}
	if last < len(accounts) {
		p.Next = here + "?after=" + strconv.Itoa(last)
	}
	return view
}

// attention is how much an account has to be looked at.
func attention(a issuer.ImportedAccount) int {
	switch {
	case a.State == issuer.ImportLeftOut || a.State == issuer.ImportDiffers:
		return 3
	case a.State == issuer.ImportNewerHere || a.From == issuer.FromServer || len(a.Problems) > 0:
		return 2
	case a.SigningSeeds < a.SigningKeys || !a.IdentitySeed && a.SigningKeys == 0:
		return 1
	}
	return 0
}

func seedChip(found bool) chip {
	if found {
		return chip{toneGood, "Found"}
	}
	return chip{toneWait, "Missing"}
}

func yesNo(yes bool) string {
	if yes {
		return "Yes"
	}
	return "No"
}

func importedAccount(a issuer.ImportedAccount) importedAccountRow {
	row := importedAccountRow{
		Name: a.Name, System: a.System, State: importedChip(a.State), Users: a.Users, From: "store", Problems: append(problemSentences(a.Problems), a.Differences...),
	}
	if a.From == issuer.FromServer {
		row.From = "servers: newer there"
	}
	row.Seeds = "identity found"
	if !a.IdentitySeed {
		row.Seeds = "identity missing"
	}
	if a.SigningKeys > 0 {
		row.Seeds += ", " + strconv.Itoa(a.SigningSeeds) + " of " + strconv.Itoa(a.SigningKeys) + " signing keys"
	}
	var notes []string
	if len(a.Templates) > 0 {
		notes = append(notes, "templates "+strings.Join(a.Templates, ", "))
	}
	for _, n := range []struct {
		n    int
		what string
	}{{a.Bearer, "bearer"}, {a.Expired, "expired"}, {a.Revoked, "revoked"}} {
		if n.n > 0 {
			notes = append(notes, formatCount(int64(n.n))+" "+n.what)
		}
	}
	if a.Revocations > 0 {
		notes = append(notes, plural(a.Revocations, "revocation", "revocations")+" kept")
	}
	if a.AddedRevocations > 0 {
		notes = append(notes, plural(a.AddedRevocations, "revocation", "revocations")+" to add, so it is signed anew")
	}
	if n := len(a.Unknown); n > 0 {
		notes = append(notes, plural(n, "unknown field", "unknown fields")+" kept")
	}
	row.Notes = strings.Join(notes, "; ")
	return row
}

// importImpact are the numbers of an operator's review.
func importImpact(o issuer.ImportedOperator) []impact {
	states, users, credentials := map[issuer.ImportedState]int{}, 0, 0
	for _, a := range o.Accounts {
		states[a.State]++
		users += a.Users
		credentials += a.NewCredentials
	}
	taken := states[issuer.ImportNew] + states[issuer.ImportNewer]
	out := []impact{{formatCount(int64(taken)), "accounts are taken in", "Served byte for byte as they are, until one is changed here.", toneGood}}
	if n := states[issuer.ImportUnchanged] + states[issuer.ImportNewerHere]; n > 0 {
		out = append(out, impact{formatCount(int64(n)), "accounts stay as they are here", "The same, or newer than in the archive. Revocations are taken over.", toneOff})
	}
	if n := states[issuer.ImportDiffers]; n > 0 {
		out = append(out, impact{formatCount(int64(n)), "conflicts", "Changed here and elsewhere: they stay as they are here.", toneBad})
	}
	if n := states[issuer.ImportLeftOut]; n > 0 {
		out = append(out, impact{formatCount(int64(n)), "accounts are left out", "The table says why.", toneBad})
	}
	return append(out, impact{formatCount(int64(users)), "users", formatCount(int64(credentials)) + " of their JWTs are new to the ledger. Their seeds stay with them.", toneOff})
}

// importRoutes are the pages of uploaded stores.
func importRoutes() []route {
	const (
		get, post = http.MethodGet, http.MethodPost
		job       = importsPath + "/{job}"
	)
	return []route{
		{get, importsPath, (*Console).importJobs, signedIn, issuer.ReadAdoption},
		{get, uploadPath, (*Console).newImport, signedIn, issuer.WriteAdoption},
		{post, uploadPath, (*Console).createImport, signedIn, ""},
		{get, job, (*Console).importJob, signedIn, issuer.ReadAdoption},
		{post, job + "/drop", (*Console).dropImport, signedIn, ""},
		{get, job + "/{mode}", (*Console).confirmImport, signedIn, issuer.WriteAdoption},
		{post, job + "/{mode}", (*Console).runImport, signedIn, ""},
	}
}

package web

// Routes returns the route table as "METHOD pattern", for the tests that must
// cover all of it.
func Routes() []string {
	var out []string
	for _, rt := range routes() {
		out = append(out, rt.method+" "+rt.pattern)
	}
	return out
}

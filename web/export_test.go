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

// Start, ParseTests and FormatTests are what the form of a template is filled with.
var (
	Start       = start
	ParseTests  = parseTests
	FormatTests = formatTests
)

// RecipeIDs names the recipes.
func RecipeIDs() []string {
	var out []string
	for _, r := range recipes {
		out = append(out, r.ID)
	}
	return out
}

// PageNames are the pages that are parsed.
func PageNames() []string { return pageNames }

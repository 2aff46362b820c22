package web_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"chancery/web"
)

// Each template is a page that is parsed: one that is not answers 500.
func TestEveryTemplateIsAPage(t *testing.T) {
	entries, err := os.ReadDir("templates")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		if name, is := strings.CutSuffix(e.Name(), ".html"); is {
			files = append(files, name)
		}
	}
	names := slices.Sorted(slices.Values(web.PageNames()))
	if d := cmp.Diff(names, files); d != "" {
		t.Errorf("pages (-) are not the templates (+):\n%s", d)
	}
}

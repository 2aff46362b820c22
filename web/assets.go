package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed static
var staticFiles embed.FS

// asset is a static file under a name that holds a hash of its content, so that
// browsers may keep it for ever.
type asset struct {
	contentType string
	content     []byte
}

// assets knows the static files: by hashed name, and the path of each by its own.
type assets struct {
	files map[string]asset
	paths map[string]string
}

var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

func loadAssets() (assets, error) {
	a := assets{files: map[string]asset{}, paths: map[string]string{}}
	entries, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		return a, fmt.Errorf("reading static files: %w", err)
	}
	for _, e := range entries {
		content, err := fs.ReadFile(staticFiles, "static/"+e.Name())
		if err != nil {
			return a, fmt.Errorf("reading static files: %w", err)
		}
		ext := path.Ext(e.Name())
		if contentTypes[ext] == "" {
			return a, fmt.Errorf("reading static files: no content type for %s", e.Name())
		}
		sum := sha256.Sum256(content)
		hashed := strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
		a.files[hashed] = asset{contentTypes[ext], content}
		a.paths[e.Name()] = "/static/" + hashed
	}
	return a, nil
}

// path returns the URL of the static file called name; a template that names one
// that is not there must not render.
func (a assets) path(name string) (string, error) {
	p, ok := a.paths[name]
	if !ok {
		return "", fmt.Errorf("no static file %q", name)
	}
	return p, nil
}

func (c *Console) static(w http.ResponseWriter, r *http.Request) {
	f, ok := c.assets.files[r.PathValue("file")]
	if !ok {
		c.write(w, r, nil, errorPage(http.StatusNotFound, noSuchPage, ""))
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(f.content) // a reader that has gone is nobody's error
}

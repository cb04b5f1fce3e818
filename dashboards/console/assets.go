package console

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"path"
)

var assetTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// asset answers with a file that a page links to. Its address carries a digest,
// so that a browser keeps it for ever and still sees a new one.
func (c *Console) asset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	b, err := files.ReadFile("assets/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", assetTypes[path.Ext(name)])
	if r.URL.RawQuery != "" {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(b)
}

// assetURLs returns the addresses of all files by name.
func assetURLs() (map[string]string, error) {
	entries, err := files.ReadDir("assets")
	if err != nil {
		return nil, err
	}
	urls := map[string]string{}
	for _, e := range entries {
		b, err := files.ReadFile("assets/" + e.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		urls[e.Name()] = "/assets/" + e.Name() + "?" + hex.EncodeToString(sum[:6])
	}
	return urls, nil
}

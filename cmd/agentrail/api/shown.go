package api

import "net/http"

// showing puts on record that the caller is shown content: prompts, arguments,
// records as received. Where that cannot be, it answers and nothing is shown.
func (a *api) showing(w http.ResponseWriter, r *http.Request, ids ...string) bool {
	if a.o.NoteRead == nil || len(ids) == 0 {
		return true
	}
	if err := a.o.NoteRead(r, ids...); err != nil {
		a.fail(w, r, "record of this read", err)
		return false
	}
	return true
}

package console

import "net/http"

// Setting is one value that is in effect. Secrets are masked by who makes it.
type Setting struct{ Group, Key, Value string }

// settingsPage shows the effective config. Nothing can be changed here: the
// file is the truth.
type settingsPage struct {
	*frame
	Groups   []settingGroup
	Operator bool
}

type settingGroup struct {
	Name string
	Rows []Setting
}

func (c *Console) settings(_ *http.Request, f *frame) (view, error) {
	f.Title, f.Nav = "Settings", "settings"
	p := settingsPage{frame: f, Operator: c.operates(f)}
	if p.Operator {
		for _, s := range c.o.Settings {
			if n := len(p.Groups); n == 0 || p.Groups[n-1].Name != s.Group {
				p.Groups = append(p.Groups, settingGroup{Name: s.Group})
			}
			g := &p.Groups[len(p.Groups)-1]
			g.Rows = append(g.Rows, s)
		}
	}
	return view{template: "settings.html", data: p}, nil
}

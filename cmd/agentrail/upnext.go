package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// upCommands writes commands as they work where `up` was started: with the
// name by which the program was called, and with the token file, beside which
// the address lies, where the client would not find it by itself.
type upCommands struct {
	program   string
	url       string // spelled out where the environment names another
	dir       string
	here      string // current folder
	elsewhere bool   // the client would take another token than the folder's
	tokenFile string // of a server that has no folder here
}

// newUpCommands returns the commands for the folder.
func newUpCommands(c *console, dir, here string) upCommands {
	u := upCommands{program: programName(), dir: dir, here: here}
	cl := &client{at: pipeline, c: c}
	for _, file := range cl.tokenFiles() {
		if file == filepath.Join("data", "token") {
			break
		}
		if _, err := os.Stat(file); err == nil || c.env("AGENTRAIL_TOKEN_FILE") != "" {
			u.elsewhere = true
		}
	}
	return u
}

// programName is what to type for this program.
func programName() string {
	self, err := os.Executable()
	if found, lerr := exec.LookPath("agentrail"); err == nil && lerr == nil {
		if real, err := filepath.EvalSymlinks(found); err == nil && real == self {
			return "agentrail"
		}
	}
	return os.Args[0]
}

// client is a verb that asks the server.
func (u upCommands) client(verb string) string {
	cmd := u.program + " " + verb
	if u.url != "" {
		cmd += " --server " + u.url
	}
	switch {
	case u.tokenFile != "":
		cmd += " --token-file " + shellQuote(u.tokenFile)
	case u.elsewhere || u.dir != filepath.Join(u.here, "data"):
		cmd += " --token-file " + u.path("token")
	}
	return cmd
}

// path is a file of the folder, as short as it can be written.
func (u upCommands) path(elem ...string) string {
	file := filepath.Join(append([]string{u.dir}, elem...)...)
	if rel, err := filepath.Rel(u.here, file); err == nil && !strings.HasPrefix(rel, "..") {
		return shellQuote(rel)
	}
	return shellQuote(file)
}

// alert shows an alert: asks the server or, where nothing can be looked up,
// finds it in the file that the sink of up writes.
func (u upCommands) alert(id string, searchable bool) string {
	if !searchable {
		return "grep " + id + " " + u.path("export", "events.ndjson")
	}
	return u.client("alerts show " + id)
}

// up goes on with the folder.
func (u upCommands) up() string {
	if u.dir == filepath.Join(u.here, "data") {
		return u.program + " up"
	}
	return u.program + " up --data " + u.path()
}

// demo plants an incident into the server that runs in the folder.
func (u upCommands) demo(incident string) string {
	cmd := u.program + " demo " + incident
	if u.dir != filepath.Join(u.here, "data") {
		cmd += " --data " + u.path()
	}
	return cmd
}

// next are some commands to go on with. After --once nothing listens any more.
func (u upCommands) next(once bool) string {
	verify := u.program + " verify --data " + u.path("data") + " --key " + u.path("config", "head.key.pub")
	lines := [][2]string{
		{"the alerts, newest first", u.client("alerts")},
		{"what was refused", u.client("events --action tool.execute --outcome denied --limit 20")},
		{"proof that nothing was changed", verify},
		{"an incident of your own: its alert comes at once", u.demo("burst")},
	}
	if once {
		lines[0] = [2]string{"start it again; the day is not played twice", u.up()}
		lines[1] = [2]string{"then: the alerts, newest first", u.client("alerts")}
		lines = lines[:3]
	}
	var b strings.Builder
	b.WriteString("Next:\n")
	for _, l := range lines {
		b.WriteString("  # " + l[0] + "\n  " + l[1] + "\n")
	}
	return b.String()
}

// shellQuote makes a path fit to be pasted into a shell.
func shellQuote(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./+:@,", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

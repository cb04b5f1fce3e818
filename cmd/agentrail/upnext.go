package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// upCommands writes commands as they work where `up` was started: with the
// name by which the program was called, and with address and token file where
// the client would not find them by itself.
type upCommands struct {
	program  string
	url, dir string
	here     string // current folder
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
	if u.url != defaultServer {
		cmd += " --server " + u.url
	}
	if u.dir != filepath.Join(u.here, "data") {
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

// next are three commands to go on with. After --once nothing listens any more.
func (u upCommands) next(once bool) string {
	verify := u.program + " verify --data " + u.path("data") + " --key " + u.path("config", "head.key.pub")
	lines := [][2]string{
		{"the alerts, newest first", u.client("alerts")},
		{"what was refused", u.client("events --action tool.execute --outcome denied --limit 20")},
		{"proof that nothing was changed", verify},
	}
	if once {
		u.url = defaultServer
		lines[0] = [2]string{"start it again; the day is not played twice", u.program + " up --data " + u.path()}
		lines[1] = [2]string{"then: the alerts, newest first", u.client("alerts")}
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

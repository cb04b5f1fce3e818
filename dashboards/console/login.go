package console

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/agentrail/agentrail/internal/auth"
)

// maxForm caps the body of a form, bytes.
const maxForm = 8 << 10

// loginForm is the page that asks who it is.
type loginForm struct {
	*frame
	Next, Problem string
	Away          string // address that leads to the provider; empty: there is none
}

// loginPage logs in by the one-time code of its address, or asks for a token.
func (c *Console) loginPage(w http.ResponseWriter, r *http.Request) {
	code := r.URL.Query().Get("code")
	// A browser that looks ahead, or a HEAD, must not use the code up.
	if code == "" || r.Method != http.MethodGet || r.Header.Get("Sec-Purpose") != "" {
		c.askToken(w, r, http.StatusOK, next(r.URL.Query().Get("next")), "")
		return
	}
	if err := c.o.Sessions.LoginByCode(w, r, code); err != nil {
		c.refuseLogin(w, r, "/", "The code of this address was "+err.Error()+". Log in with a token instead.", err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// login takes the name and password, or the token, of the form.
func (c *Console) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		c.askToken(w, r, http.StatusBadRequest, "/", "The form could not be read.")
		return
	}
	to := next(r.PostForm.Get("next"))
	if name := r.PostForm.Get("name"); name != "" {
		if err := c.o.Sessions.LoginByPassword(w, r, name, r.PostForm.Get("password")); err != nil {
			c.refuseLogin(w, r, to, "The name or the password is wrong.", err)
			return
		}
	} else if err := c.o.Sessions.Login(w, r, strings.TrimSpace(r.PostForm.Get("token"))); err != nil {
		c.refuseLogin(w, r, to, "The token is "+err.Error()+".", err)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// loginAway sends the browser to the provider.
func (c *Console) loginAway(w http.ResponseWriter, r *http.Request) {
	if !c.o.Sessions.Provided() {
		http.NotFound(w, r)
		return
	}
	to, err := c.o.Sessions.BeginOIDC(w, r, next(r.URL.Query().Get("next")))
	if err != nil {
		c.log.Error("begin login at the provider", "err", err)
		c.askToken(w, r, http.StatusBadGateway, "/", "The identity provider cannot be reached; see the server's log. A token or a password works without it.")
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// loginBack takes the provider's answer. The page leads on by itself rather than
// by a redirect: the browser came from another site and would hold the session's
// cookie back.
func (c *Console) loginBack(w http.ResponseWriter, r *http.Request) {
	if !c.o.Sessions.Provided() {
		http.NotFound(w, r)
		return
	}
	to, err := c.o.Sessions.LoginByOIDC(w, r)
	if err != nil {
		c.refuseLogin(w, r, "/", "You are not logged in: "+err.Error()+".", err)
		return
	}
	c.render(w, http.StatusOK, view{template: "onward.html", data: next(to)})
}

func (c *Console) refuseLogin(w http.ResponseWriter, r *http.Request, to, text string, err error) {
	status := http.StatusUnauthorized
	if errors.Is(err, auth.ErrTooManyLogins) {
		status, text = http.StatusTooManyRequests, "There were too many failed logins from your address. Wait a minute."
		w.Header().Set("Retry-After", "60")
	}
	c.log.Warn("login refused", "addr", r.RemoteAddr, "err", err)
	c.askToken(w, r, status, to, text)
}

func (c *Console) askToken(w http.ResponseWriter, _ *http.Request, status int, to, problem string) {
	f := &frame{Title: "Log in", Version: c.o.Version}
	form := loginForm{frame: f, Next: to, Problem: problem}
	if c.o.Sessions.Provided() {
		form.Away = "/login/oidc?next=" + url.QueryEscape(to)
	}
	c.render(w, status, view{template: "login.html", data: form})
}

func (c *Console) logout(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if r.PostFormValue("everywhere") == "yes" {
		c.o.Sessions.LogoutEverywhere(w, r)
	} else {
		c.o.Sessions.Logout(w, r)
	}
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// refuse answers those who may not see a page.
func (c *Console) refuse(w http.ResponseWriter, r *http.Request, no auth.Refusal) {
	switch {
	case no.Status == http.StatusForbidden:
		f := &frame{Version: c.o.Version, Path: r.URL.RequestURI()}
		c.say(w, f, http.StatusForbidden, "Not allowed", "The pages need one of the roles viewer, analyst, moderator, admin or auditor.", no.Detail)
	case r.Header.Get("Accept") == "text/event-stream" || len(r.Header["Authorization"]) > 0:
		http.Error(w, no.Detail, no.Status)
	case r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") == "navigate":
		// A link on another site: the browser holds the session's cookie back.
		// Going on from a page of ours brings it.
		c.render(w, http.StatusOK, view{template: "onward.html", data: r.URL.RequestURI()})
	default:
		to := "/login"
		if at := r.URL.RequestURI(); at != "/" {
			to += "?next=" + url.QueryEscape(at)
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
	}
}

// next returns where to go after a login: a page of ours, whatever was asked.
func next(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\t\r\n") {
		return "/"
	}
	return u.RequestURI()
}

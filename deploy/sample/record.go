package sample

import (
	"strconv"
	"time"
)

const (
	project       = "projects/example-prj"
	auditLog      = project + "/logs/audit_logs"
	customerLog   = project + "/logs/glean_customer_event"
	timeLayout    = "2006-01-02T15:04:05.000Z"
	agentRuntime  = "agent-runtime/4.2"
	statusOK      = 200
	receivedDelay = 400 * time.Millisecond
)

// writer appends one JSON object. Keys are written in the order of the calls;
// with lower set they are written in lower case, which is how a BigQuery row
// spells everything below jsonPayload.
type writer struct {
	b     []byte
	lower bool
	comma bool
}

func (w *writer) key(k string) {
	if w.comma {
		w.b = append(w.b, ',')
	}
	w.comma = true
	w.b = append(w.b, '"')
	for i := range len(k) {
		c := k[i]
		if w.lower && 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		w.b = append(w.b, c)
	}
	w.b = append(w.b, '"', ':')
}

// str writes a string of printable ASCII; the sample has no others in places
// where escaping could matter.
func (w *writer) str(k, v string) {
	w.key(k)
	w.b = strconv.AppendQuote(w.b, v)
}

// some writes the string only if there is one.
func (w *writer) some(k, v string) {
	if v != "" {
		w.str(k, v)
	}
}

func (w *writer) num(k string, v int64) {
	w.key(k)
	w.b = strconv.AppendInt(w.b, v, 10)
}

// cast writes a number that a BigQuery row may carry as a string.
func (w *writer) cast(k string, v int64) {
	if w.lower {
		w.str(k, strconv.FormatInt(v, 10))
		return
	}
	w.num(k, v)
}

func (w *writer) yes(k string, v bool) {
	w.key(k)
	w.b = strconv.AppendBool(w.b, v)
}

func (w *writer) when(k string, t time.Time) { w.str(k, t.UTC().Format(timeLayout)) }

func (w *writer) object(k string, fill func()) {
	w.key(k)
	w.enclose('{', fill, '}')
}

// list writes n objects.
func (w *writer) list(k string, n int, fill func(i int)) {
	w.key(k)
	w.enclose('[', func() {
		for i := range n {
			if i > 0 {
				w.b = append(w.b, ',')
			}
			w.enclose('{', func() { fill(i) }, '}')
		}
	}, ']')
}

func (w *writer) enclose(open byte, fill func(), end byte) {
	w.b = append(w.b, open)
	w.comma = false
	fill()
	w.b = append(w.b, end)
	w.comma = true
}

// logEntry writes the Cloud Logging envelope around a payload.
func logEntry(id, log, severity string, t time.Time, lower bool, payload, more func(w *writer)) []byte {
	w := &writer{b: make([]byte, 0, 1024)}
	w.enclose('{', func() {
		w.str("insertId", id)
		w.when("timestamp", t)
		w.when("receiveTimestamp", t.Add(receivedDelay))
		w.str("logName", log)
		w.object("resource", func() {
			w.str("type", "global")
			w.object("labels", func() { w.str("project_id", "example-prj") })
		})
		w.str("severity", severity)
		if more != nil {
			more(w)
		}
		w.object("jsonPayload", func() {
			w.lower = lower
			payload(w)
			w.lower = false
		})
	}, '}')
	return w.b
}

// call is one audited API call.
type call struct {
	method, path string // method defaults to POST
	user         *user
	agent        *agent // nil where the call names none
	run          string // empty where the call belongs to no run
	trace        string // of the run; empty for a trace of the call's own
	background   bool   // made by the runtime: no client address

	status  int // defaults to 200
	code    string
	latency time.Duration

	tool      *tool    // for tool calls
	actionRun string   // for tool calls
	toolError string   // error text behind a 200
	args      []string // values of the tool's parameters; those that are missing are any
}

func (c *call) body(g *generator, id string, t time.Time) []byte {
	severity := "INFO"
	if c.status >= 400 {
		severity = "NOTICE"
	}
	trace, span := c.trace, g.ids.hex(16)
	if trace == "" {
		trace = g.ids.hex(32)
	}
	return logEntry(id, auditLog, severity, t, g.ids.chance(g.o.LowerCase), func(w *writer) { c.payload(w, g) }, func(w *writer) {
		w.object("httpRequest", func() {
			w.str("requestMethod", c.method)
			w.str("requestUrl", c.path)
			w.num("status", int64(c.status))
			if c.background {
				w.str("userAgent", agentRuntime)
			} else {
				w.str("remoteIp", c.user.ip)
				w.str("userAgent", c.user.browser)
			}
			w.str("latency", strconv.FormatFloat(c.latency.Seconds(), 'f', 3, 64)+"s")
		})
		w.str("trace", project+"/traces/"+trace)
		w.str("spanId", span)
	})
}

func (c *call) payload(w *writer, g *generator) {
	w.str("endpoint", c.path)
	w.object("actor", func() {
		w.str("type", c.user.kind)
		w.str("userId", c.user.id)
		w.str("email", c.user.email)
	})
	w.str("requestId", "req_"+g.ids.hex(12))
	w.num("statusCode", int64(c.status))
	w.some("errorCode", c.code)
	if c.tool != nil {
		w.object("request", func() {
			w.str("name", c.tool.name)
			if c.actionRun != "" {
				w.str("actionInstanceId", c.tool.instance)
				w.str("actionRunId", c.actionRun)
			}
			w.object("parameters", func() {
				for i, p := range c.tool.params {
					w.object(p, func() {
						w.str("type", "STRING")
						if i < len(c.args) {
							w.str("value", c.args[i])
							return
						}
						w.str("value", g.ids.pick(values))
					})
				}
			})
		})
		if c.status == statusOK {
			w.object("response", func() {
				w.str("title", c.tool.title)
				w.some("error", c.toolError)
			})
		}
	}
	if c.agent != nil {
		w.str("workflowId", c.agent.id)
	}
	w.some("runId", c.run)
}

// customer writes a customer event: the envelope, the acting user and the one
// struct that matches its type. A nil user is left out, as in inventory.
func (g *generator) customer(id, typ, structure string, u *user, t time.Time, fill func(w *writer)) []byte {
	lower := g.ids.chance(g.o.LowerCase)
	return logEntry(id, customerLog, "INFO", t, lower, func(w *writer) {
		w.str("Type", typ)
		if u != nil {
			w.yes("IsScrubbed", u.scrubbed)
			w.object("User", func() {
				w.str("UserId", u.id)
				if !u.scrubbed {
					w.str("UserEmail", u.email)
				}
				w.str("Department", u.department.name)
				w.str("DepartmentId", u.department.id)
			})
		} else {
			w.yes("IsScrubbed", false)
		}
		w.object(structure, func() { fill(w) })
	}, nil)
}

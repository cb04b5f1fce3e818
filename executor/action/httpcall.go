package action

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentrail/agentrail/executor/gate"
)

// httpCall is an HTTP call that the operator declared.
type httpCall struct {
	d      Call
	most   int
	tool   Tool
	client *http.Client
}

func newHTTPCall(d Call, most int) (*httpCall, error) {
	def := &mcp.Tool{Name: d.Name, Description: d.Description, InputSchema: d.schema(), Meta: mcp.Meta{"method": d.Method, "url": d.URL, "body": d.Body, "query": d.Query}}
	digest, err := Digest(def)
	if err != nil {
		return nil, err
	}
	idempotent := d.Method != http.MethodPost && d.Method != http.MethodPatch
	def.Annotations = &mcp.ToolAnnotations{IdempotentHint: idempotent}
	over := Override{Access: d.Access, Destructive: d.Destructive, Idempotent: d.Idempotent}
	t := describe("", def, digest, over, d.Auth == authAPIKey)
	t.Name, t.Server = d.Name, serverOf(d.Name)
	return &httpCall{d: d, most: most, tool: t, client: newClient(newTransport())}, nil
}

// make makes the call.
func (h *httpCall) make(ctx context.Context, t Tool, cred credential, raw json.RawMessage) (Result, error) {
	if t.Digest != h.tool.Digest {
		return Result{}, ErrChanged
	}
	args, err := h.d.arguments(raw)
	if err != nil {
		return Result{}, err
	}
	req, err := h.request(ctx, args)
	if err != nil {
		return Result{}, err
	}
	authorize(req, h.d.Header, cred)
	resp, err := h.client.Do(req)
	if err != nil {
		return Result{}, plainURL(err)
	}
	defer resp.Body.Close()
	return h.read(resp)
}

// request fills in the declared places and nothing else.
func (h *httpCall) request(ctx context.Context, args map[string]any) (*http.Request, error) {
	target, err := fillPath(h.d.URL, args)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrArguments, err)
	}
	if len(h.d.Query) > 0 {
		q := u.Query()
		for name, value := range h.d.Query {
			if text, ok := fillText(value, args); ok {
				q.Set(name, text)
			}
		}
		u.RawQuery = q.Encode()
	}
	var body io.Reader
	if h.d.Body != nil {
		filled, _ := fillBody(h.d.Body, args)
		b, err := json.Marshal(filled)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrArguments, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, h.d.Method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrArguments, err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "agentrail-executor")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range h.d.Headers {
		req.Header.Set(name, value)
	}
	return req, nil
}

// read turns the answer into a result. A JSON answer is whole or an error; a
// text may be cut.
func (h *httpCall) read(resp *http.Response) (Result, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(h.most)+1))
	if err != nil {
		return Result{}, fmt.Errorf("read answer: %w", err)
	}
	r := Result{Bytes: len(body)}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	isJSON := media == "application/json" || strings.HasSuffix(media, "+json")
	if len(body) > h.most {
		if isJSON {
			return Result{}, ErrTooLarge
		}
		body, r.Truncated, r.Bytes = body[:h.most], true, h.most
	}
	r.Code = h.code(resp.StatusCode)
	r.IsError = r.Code != ""
	switch {
	case isJSON && json.Valid(body):
		r.JSON, r.Text = body, string(body)
	case isJSON && len(bytes.TrimSpace(body)) > 0 && !r.IsError:
		return Result{}, errors.New("the answer says that it is JSON and is not")
	case utf8.Valid(body) || r.Truncated:
		r.Text = strings.ToValidUTF8(string(body), "\uFFFD")
	default:
		r.Text = fmt.Sprintf("[%s, %d bytes]", cut(media, 100), len(body))
	}
	if r.IsError {
		r.Text = fmt.Sprintf("HTTP %d (%s): %s", resp.StatusCode, r.Code, r.Text)
	}
	return r, nil
}

// code is the problem code of a status, or "" for a success.
func (h *httpCall) code(status int) string {
	if code, ok := h.d.Statuses[status]; ok {
		if code == "ok" {
			return ""
		}
		return code
	}
	switch {
	case status >= 200 && status < 300:
		return ""
	case status == http.StatusUnauthorized:
		return CodeNoCredential
	case status == http.StatusForbidden:
		return CodeForbidden
	case status == http.StatusNotFound || status == http.StatusGone:
		return CodeUnknown
	case status == http.StatusRequestTimeout || status == http.StatusGatewayTimeout:
		return CodeTimeout
	case status == http.StatusConflict || status == http.StatusPreconditionFailed:
		return CodeConflict
	case status == http.StatusTooManyRequests:
		return CodeRateLimit
	case status == http.StatusBadGateway || status == http.StatusServiceUnavailable:
		return CodeUnavailable
	case status >= 400 && status < 500:
		return CodeRejected
	}
	return CodeFailed // redirects, too: they are not followed
}

// plainURL keeps arguments out of an error: the URL that net/http names holds
// them.
func plainURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// schema is the JSON Schema of the arguments.
func (d Call) schema() map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, name := range slices.Sorted(maps.Keys(d.Parameters)) {
		p := d.Parameters[name]
		s := map[string]any{"type": p.kind()}
		if p.Description != "" {
			s["description"] = p.Description
		}
		if len(p.Enum) > 0 {
			s["enum"] = p.Enum
		}
		properties[name] = s
		if !p.Optional {
			required = append(required, name)
		}
	}
	return map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

func (k *checker) call(i int, d Call) {
	fault := func(hint, msg string, path ...any) { k.fault(hint, msg, append([]any{"calls", i}, path...)...) }
	server, tool, ok := strings.Cut(d.Name, ".")
	if !ok || !serverName.MatchString(server) || !toolName.MatchString(tool) || len(d.Name) > maxTool {
		fault("write SYSTEM.TOOL, as in tickets.create", fmt.Sprintf("name of a call is %q", d.Name), "name")
	}
	if !slices.Contains([]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}, d.Method) {
		fault("write GET, POST, PUT, PATCH or DELETE", fmt.Sprintf("method is %q", d.Method), "method")
	}
	if d.Access != "" && d.Access != gate.Read && d.Access != gate.Write {
		fault("write read or write", fmt.Sprintf("access is %q", d.Access), "access")
	}
	if d.Body != nil && d.Method == http.MethodGet {
		fault("use query", "a GET has no body", "body")
	}
	k.auth(d.Auth, d.Header, "calls", i)
	k.headers(d.Headers, "calls", i, "headers")
	k.url(d.URL, "calls", i, "url")
	k.template(i, d)
	for _, name := range slices.Sorted(maps.Keys(d.Parameters)) {
		p := d.Parameters[name]
		if _, known := kinds[p.kind()]; !known {
			fault("write string, integer, number, boolean, array or object", fmt.Sprintf("type of %s is %q", name, p.Type), "parameters", name, "type")
		}
		if len(p.Enum) > 0 && p.kind() != "string" {
			fault("enum is for strings", fmt.Sprintf("%s has an enum and type %s", name, p.kind()), "parameters", name, "enum")
		}
	}
	for status := range d.Statuses {
		if status < 200 || status > 599 {
			fault("write a status from 200 to 599", fmt.Sprintf("status is %d", status), "statuses")
		}
	}
}

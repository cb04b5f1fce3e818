package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/survey"
)

// suggestion is YAML to add to a mapping.
type suggestion struct {
	Mapping string `json:"mapping"` // name
	Source  string `json:"source"`
	YAML    string `json:"yaml"`
}

// mostSuggested caps each list of a suggestion.
const mostSuggested = 20

// suggest returns lines for the mapping of each source that has met something
// that it does not know.
func suggest(sources []api.SourceReport) (out []suggestion) {
	for i := range sources {
		s := sources[i].Delivered
		if s == nil || s.Mapping == "" {
			continue
		}
		if text := suggestFields(s) + suggestKinds(s.Kinds) + suggestEndpoints(s.Endpoints); text != "" {
			out = append(out, suggestion{s.Mapping, sources[i].Name, text})
		}
	}
	return out
}

// suggestFields names the fields that paths which nobody takes may be for.
func suggestFields(s *survey.Source) string {
	by := map[string][]string{}
	for _, x := range s.Fields {
		// At the top of the record: right whatever the roots of the mapping are.
		if f := fieldOf(x.Name); f != "" && lacking(s, f) && len(by[f]) < 3 {
			by[f] = append(by[f], yamlText("/"+x.Name))
		}
	}
	var fields, outcome strings.Builder
	for _, f := range slices.Sorted(maps.Keys(by)) {
		list := "[" + strings.Join(by[f], ", ") + "]"
		if sub, ok := strings.CutPrefix(f, "outcome."); ok {
			fmt.Fprintf(&outcome, "  %s: %s\n", sub, list)
		} else if f == "initiator" {
			fmt.Fprintf(&fields, "  initiator: {from: %s, values: initiators}\n", list)
		} else {
			fmt.Fprintf(&fields, "  %s: %s\n", f, list)
		}
	}
	return section("fields: # add these paths to those that are there", fields.String()) + section("outcome: # add these, too", outcome.String())
}

// lacking reports whether events of the source lack what the field gives.
func lacking(s *survey.Source, field string) bool {
	n := map[string]uint64{
		"actor": s.NoActor, "actor_email": s.NoActor, "agent": s.NoAgent, "initiator": s.NoInitiator, "time": s.TimeMissing, "source_id": s.NoSourceID,
		"outcome.text": s.NoOutcome, "outcome.code": s.NoOutcome, "outcome.error": s.NoOutcome, "status": s.NoOutcome,
		"endpoint": s.NoAction, "method": s.NoAction, "source_action": s.NoAction,
	}
	missing, known := n[field]
	return !known || missing*100 > s.Events
}

func suggestKinds(list []survey.Strange) string {
	var b strings.Builder
	for _, x := range list[:min(len(list), mostSuggested)] {
		if action := actionName(x.Name); action != "" {
			fmt.Fprintf(&b, "    %s: {action: %s, access: write}\n", yamlText(x.Name), action)
		}
	}
	return section("kind:\n  known: # access: read for those that only look", b.String())
}

func suggestEndpoints(list []survey.Strange) string {
	var b strings.Builder
	for _, x := range list[:min(len(list), mostSuggested)] {
		path, action, access := endpointOf(x.Name, x.Method)
		if action == "" {
			continue
		}
		method := ""
		if x.Method != "" {
			method = ", method: " + yamlText(x.Method)
		}
		fmt.Fprintf(&b, "    - {path: %s%s, action: %s, access: %s}\n", yamlText(path), method, action, access)
	}
	return section("endpoints:\n  known:", b.String())
}

func section(head, lines string) string {
	if lines == "" {
		return ""
	}
	return head + "\n" + lines
}

var (
	plainText = regexp.MustCompile(`^/?[A-Za-z][A-Za-z0-9_./-]*$`)
	yamlWords = []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
)

// yamlText writes text from outside as one YAML scalar.
func yamlText(s string) string {
	if plainText.MatchString(s) && !slices.Contains(yamlWords, strings.ToLower(s)) {
		return s
	}
	return strconv.QuoteToASCII(s)
}

// holesAfter say what stands behind a word of a path.
var holesAfter = map[string]string{
	"agents": "{agent}", "agent": "{agent}", "workflows": "{agent}", "workflow": "{agent}", "runs": "{run}", "subscriptions": "{subscription}",
	"triggers": "{subscription}", "tools": "{tool}", "skills": "{tool}",
}

var (
	pathVerbs = []string{"create", "add", "edit", "update", "set", "delete", "remove", "revoke", "list", "get", "search", "run", "execute", "read", "fetch"}
	readVerbs = []string{"list", "get", "search", "read", "fetch"}
	methods   = map[string]string{"GET": "get", "HEAD": "get", "POST": "create", "PUT": "edit", "PATCH": "edit", "DELETE": "delete"}
)

// endpointOf guesses an entry of endpoints.known from a path and a method.
func endpointOf(name, method string) (path, action, access string) {
	low := strings.ToLower(name)
	for _, family := range []string{"/rest/api/v1/", "/api/v1/", "/api/"} {
		if rest, ok := strings.CutPrefix(low, family); ok {
			low = rest
			break
		}
	}
	var parts, words []string
	for part := range strings.SplitSeq(strings.Trim(low, "/"), "/") {
		if strings.HasPrefix(part, "{") {
			hole := "{target}"
			if len(words) > 0 && len(parts) > 0 && parts[len(parts)-1] == words[len(words)-1] && holesAfter[words[len(words)-1]] != "" {
				hole = holesAfter[words[len(words)-1]]
			}
			parts = append(parts, hole)
			continue
		}
		parts, words = append(parts, part), append(words, part)
	}
	if len(words) == 0 {
		return "", "", ""
	}
	last := words[len(words)-1]
	verb := methods[strings.ToUpper(method)]
	noun := last
	for _, v := range pathVerbs {
		if rest, ok := strings.CutPrefix(last, v); ok && (rest == "" && len(words) > 1 || len(rest) > 2) {
			if verb, noun = v, rest; noun == "" {
				noun = words[len(words)-2]
			}
			break
		}
	}
	if len(words) > 1 && noun == last && parts[len(parts)-1] == last && !strings.HasSuffix(last, "s") {
		verb, noun = last, words[len(words)-2] // widgets/{id}/spin
	}
	if verb == "" {
		verb = "call"
	}
	access = "write"
	if slices.Contains(readVerbs, verb) || verb != last && strings.EqualFold(method, "GET") {
		access = "read"
	}
	if noun, verb = actionName(noun), actionName(verb); noun == "" || verb == "" {
		return "", "", ""
	}
	return strings.Join(parts, "/"), noun + "." + verb, access
}

// actionName leaves of a name what an action may hold. The word unknown at its
// beginning would make it an unknown one again.
func actionName(s string) string {
	s = strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_', r == '.', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r | 0x20
		}
		return -1
	}, s), "_.-")
	if s == "" || strings.HasPrefix(s, "unknown") || s[0] <= '9' {
		return ""
	}
	return s
}

// fieldOf guesses from its last words which field of an event a path may be
// for; "" if they say nothing.
func fieldOf(path string) string {
	parts := strings.Split(strings.ToLower(strings.NewReplacer("_", "", "-", "", "[]", "").Replace(path)), ".")
	last := parts[len(parts)-1]
	if len(parts) > 1 {
		if f := fieldWords[parts[len(parts)-2]+last]; f != "" {
			return f
		}
	}
	return fieldWords[last]
}

var fieldWords = invert(map[string]string{
	"actor":         "userid username login principal principalid subject actorid accountid performedby",
	"actor_email":   "email useremail mail principalemail actoremail usermail",
	"agent":         "agentid workflowid botid assistantid",
	"name":          "agentname workflowname botname assistantname",
	"owner":         "owner ownerid owneremail",
	"department":    "department",
	"tool":          "toolname functionname",
	"run":           "runid executionid workflowrunid",
	"subscription":  "subscriptionid triggerid scheduleid",
	"session":       "sessionid conversationid",
	"trace":         "traceid",
	"span":          "spanid",
	"outcome.text":  "outcome result decision verdict finalstatus",
	"outcome.code":  "errorcode",
	"outcome.error": "errormessage",
	"status":        "statuscode httpstatus responsecode",
	"endpoint":      "endpoint uri url route requestpath",
	"method":        "httpmethod requestmethod",
	"ip":            "clientip sourceip remoteip ipaddress",
	"user_agent":    "useragent",
	"time":          "timestamp eventtime occurredat createdat",
	"source_id":     "eventid recordid insertid",
	"initiator":     "triggertype initiatedby startedby initiatortype",
	"duration":      "durationms latencyms elapsedms",
})

func invert(by map[string]string) map[string]string {
	out := map[string]string{}
	for field, words := range by {
		for w := range strings.FieldsSeq(words) {
			out[w] = field
		}
	}
	return out
}

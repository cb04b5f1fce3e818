package response

import (
	_ "embed" // of the shipped policies
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
)

// Actions.
const (
	PauseSubscription  = "subscription.pause"
	RemoveSubscription = "subscription.remove"
	PauseAgent         = "agent.pause"
	UnshareAgent       = "agent.unshare"
	PauseActor         = "actor.pause"
	Panic              = "tenant.panic" // all background writes of the tenant
)

var allActions = []string{PauseSubscription, RemoveSubscription, PauseAgent, UnshareAgent, PauseActor, Panic}

// Modes of a policy.
const (
	Shadow  = "shadow"  // only on record
	Warn    = "warn"    // on record and an alarm
	Enforce = "enforce" // it acts
)

// Config is what the operator decided about responses: the section response of
// the executor's config, or a file of its own.
type Config struct {
	// Version of the format, in a file of its own: 1.
	Version int `yaml:"version"`
	// Policies answer alerts. Each of them looks at each alert.
	Policies []Policy `yaml:"policies"`
	// Protected is what no policy touches. It says so on record when it holds something back.
	Protected []Protected `yaml:"protected"`
	// Cap is how many actions all policies together may begin in an hour. Default: 30.
	Cap int `yaml:"cap"`
	// TwoPeople lists the actions that two different people must approve, whoever asks; a person who asks is the first
	// of them. Default: subscription.remove, tenant.panic.
	TwoPeople []string `yaml:"two_people"`
	// AnswerWithin is how long an approval may take before it expires. Default: 30m.
	AnswerWithin plug.Duration `yaml:"answer_within"`
	// Targets are the adapters that carry actions out, beside executor, which is always there.
	Targets []plug.Config `yaml:"targets"`
	// SelfTest proves that the brake works.
	SelfTest SelfTest `yaml:"self_test"`
}

// Policy answers the alerts that it wants with one action.
type Policy struct {
	// Name of the policy; stands as author on what it does.
	Name string `yaml:"name"`
	// When is a CEL expression over alert and entity, such as
	// alert.rule == "burst" && alert.severity in ["high", "critical"].
	When string `yaml:"when"`
	// Mode is shadow (only on record), warn (and an alarm) or enforce. Default: shadow.
	Mode string `yaml:"mode"`
	// Action: subscription.pause, subscription.remove, agent.pause, agent.unshare, actor.pause or tenant.panic.
	Action string `yaml:"action"`
	// Via names the adapter. Default: executor.
	Via string `yaml:"via"`
	// TTL is how long the action holds before it is taken back; of a removal, how long it can be taken back. Default: 1h.
	TTL plug.Duration `yaml:"ttl"`
	// Cap is how many actions the policy may begin in an hour. Default: 10.
	Cap int `yaml:"cap"`
	// CoolDown is how long the policy leaves an entity alone once it has dealt with it. Default: 15m.
	CoolDown plug.Duration `yaml:"cool_down"`
	// Many says what to do when the alert leads to more than one target: all, or ask a person for each. Default: ask.
	Many string `yaml:"many"`
	// Approvals is how many different people must agree before it acts: 0 to 2.
	Approvals int `yaml:"approvals"`
	// Reason is kept with the action; the alert's own is added. Default: the name of the policy.
	Reason string `yaml:"reason"`

	when *condition
}

// Protected is one thing that no policy touches, and all that belongs to it.
type Protected struct {
	Kind string `yaml:"kind"` // subscription, agent or actor
	ID   string `yaml:"id"`
	Why  string `yaml:"why"` // shown when it holds something back
}

// SelfTest pauses a subscription that nobody needs, reads back and resumes it.
type SelfTest struct {
	Subscription string        `yaml:"subscription"` // the canary; empty: no self-test
	Via          string        `yaml:"via"`          // default: executor
	Every        plug.Duration `yaml:"every"`        // default: 1h
	Stale        plug.Duration `yaml:"stale"`        // age of a proof that is an alarm; default: three times every
}

// Bounds of what a policy may ask for.
const (
	minTTL      = time.Second
	maxTTL      = 30 * 24 * time.Hour
	maxCoolDown = 24 * time.Hour
	maxConfig   = 1 << 20 // bytes of a file
)

//go:embed shipped.yaml
var shipped string

// Shipped returns the policies that hold where the operator wrote none.
func Shipped() *Config {
	c, err := Parse("shipped.yaml", shipped)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return c
}

// Load reads a file of policies.
func Load(path string) (*Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read response policies: %w", err)
	}
	if info.Size() > maxConfig {
		return nil, fmt.Errorf("read response policies: %s is larger than %d bytes", path, maxConfig)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read response policies: %w", err)
	}
	return Parse(path, string(b))
}

// Parse is Load for text that has been read. Every fault is reported with its
// line.
func Parse(file, text string) (*Config, error) {
	c := &Config{}
	doc, err := plug.Load(file, text, c)
	if doc == nil {
		return nil, err
	}
	if c.Version != 1 {
		err = errors.Join(err, doc.Fault("write version: 1", fmt.Sprintf("version is %d", c.Version), "version"))
	}
	return c.settle(doc, err)
}

// Decode is Parse for the section response of a config.
func Decode(s plug.Section) (*Config, error) {
	c := &Config{Version: 1}
	doc, err := s.Load(c)
	if doc == nil {
		return nil, err
	}
	return c.settle(doc, err)
}

// settle fills in the defaults and checks what the types do not.
func (c *Config) settle(doc *plug.Document, err error) (*Config, error) {
	c.fill(doc.File)
	k := &checker{doc: doc}
	k.targets(c)
	for i := range c.Policies {
		k.policy(c, i)
	}
	k.rest(c)
	if err := errors.Join(append([]error{err}, k.faults...)...); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Config) fill(file string) {
	def(&c.Cap, 30)
	def(&c.AnswerWithin, plug.Duration(30*time.Minute))
	if c.TwoPeople == nil {
		c.TwoPeople = []string{RemoveSubscription, Panic}
	}
	for i := range c.Policies {
		p := &c.Policies[i]
		def(&p.Mode, Shadow)
		def(&p.Via, own)
		def(&p.TTL, plug.Duration(time.Hour))
		def(&p.Cap, 10)
		def(&p.CoolDown, plug.Duration(15*time.Minute))
		def(&p.Many, "ask")
		def(&p.Reason, p.Name)
	}
	for i := range c.Targets {
		c.Targets[i].File = file
	}
	t := &c.SelfTest
	def(&t.Via, own)
	def(&t.Every, plug.Duration(time.Hour))
	def(&t.Stale, 3*t.Every)
}

func def[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// approvals returns how many people must agree.
func (c *Config) approvals(action string, asked int) int {
	if slices.Contains(c.TwoPeople, action) {
		return 2
	}
	return asked
}

// checker collects the faults of a file.
type checker struct {
	doc    *plug.Document
	faults []error
}

func (k *checker) fault(hint, msg string, path ...any) {
	k.faults = append(k.faults, k.doc.Fault(hint, msg, path...))
}

// oneOf complains about a word that is none of these.
func (k *checker) oneOf(word string, words []string, path ...any) {
	if !slices.Contains(words, word) {
		k.fault("use one of "+strings.Join(words, ", "), fmt.Sprintf("%s is %q", path[len(path)-1], word), path...)
	}
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (k *checker) policy(c *Config, i int) {
	p := &c.Policies[i]
	at := func(key string) []any { return []any{"policies", i, key} }
	if !plainName.MatchString(p.Name) || p.Name == selfTestPolicy {
		k.fault("use letters, digits, dots, dashes and underscores; "+selfTestPolicy+" is taken", fmt.Sprintf("name is %q", p.Name), at("name")...)
	}
	if slices.ContainsFunc(c.Policies[:i], func(o Policy) bool { return o.Name == p.Name }) {
		k.fault("give each policy a name of its own", fmt.Sprintf("policy %s is there twice", p.Name), at("name")...)
	}
	when, err := compile(p.When)
	if err != nil {
		k.fault("", "policy "+p.Name+": "+err.Error(), at("when")...)
	}
	p.when = when
	k.oneOf(p.Mode, []string{Shadow, Warn, Enforce}, at("mode")...)
	k.oneOf(p.Action, allActions, at("action")...)
	k.oneOf(p.Many, []string{"all", "ask"}, at("many")...)
	k.oneOf(p.Via, c.adapters(), at("via")...)
	if d := time.Duration(p.TTL); d < minTTL || d > maxTTL {
		k.fault("write 1s to 30d", fmt.Sprintf("ttl is %s", d), at("ttl")...)
	}
	if d := time.Duration(p.CoolDown); d < 0 || d > maxCoolDown {
		k.fault("write 0s to 24h", fmt.Sprintf("cool_down is %s", d), at("cool_down")...)
	}
	if p.Cap < 1 || p.Cap > 10_000 {
		k.fault("write how many actions an hour, 1 to 10000", fmt.Sprintf("cap is %d", p.Cap), at("cap")...)
	}
	if p.Approvals < 0 || p.Approvals > 2 {
		k.fault("write 0, 1 or 2", fmt.Sprintf("approvals is %d", p.Approvals), at("approvals")...)
	}
}

func (k *checker) targets(c *Config) {
	for i, t := range c.Targets {
		if _, err := registry.Lookup(t); err != nil {
			k.faults = append(k.faults, err)
		}
		taken := t.Name == own || slices.ContainsFunc(c.Targets[:i], func(o plug.Config) bool { return o.Name == t.Name })
		if taken || !plainName.MatchString(t.Name) {
			k.fault("give each target a plain name of its own; executor is taken", fmt.Sprintf("name is %q", t.Name), "targets", i, "name")
		}
	}
}

func (k *checker) rest(c *Config) {
	for i, p := range c.Protected {
		k.oneOf(p.Kind, []string{"subscription", "agent", "actor"}, "protected", i, "kind")
		if p.ID == "" || strings.ContainsAny(p.ID, "*?") {
			k.fault("name one id; patterns are not taken", fmt.Sprintf("id is %q", p.ID), "protected", i, "id")
		}
	}
	for i, a := range c.TwoPeople {
		if !slices.Contains(allActions, a) {
			k.fault("use one of "+strings.Join(allActions, ", "), fmt.Sprintf("two_people names %q", a), "two_people", i)
		}
	}
	if c.Cap < 1 {
		k.fault("write how many actions an hour all policies may begin", fmt.Sprintf("cap is %d", c.Cap), "cap")
	}
	if d := time.Duration(c.AnswerWithin); d < time.Second || d > 7*24*time.Hour {
		k.fault("write 1s to 7d", fmt.Sprintf("answer_within is %s", d), "answer_within")
	}
	t := c.SelfTest
	k.oneOf(t.Via, c.adapters(), "self_test", "via")
	if t.Every < plug.Duration(time.Second) || t.Stale < t.Every {
		k.fault("stale must be every or more, and every at least 1s", fmt.Sprintf("every is %s and stale is %s", time.Duration(t.Every), time.Duration(t.Stale)), "self_test")
	}
}

// adapters are the names that via may have.
func (c *Config) adapters() []string {
	names := []string{own}
	for _, t := range c.Targets {
		names = append(names, t.Name)
	}
	return names
}

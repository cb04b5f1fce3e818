package sample

var firstNames = []string{
	"Dana", "Amir", "Priya", "Lucas", "Mei", "Sofia", "Noah", "Aisha", "Jonas", "Clara", "Ravi", "Elena", "Tomas", "Grace", "Omar",
	"Hanna", "Victor", "Nadia", "Felix", "Irene", "Kenji", "Laila", "Marco", "Olga", "Pedro", "Quinn", "Rosa", "Samir", "Tara", "Umar",
	"Vera", "Wen", "Ximena", "Yusuf", "Zoe", "Anil", "Bianca", "Cyril", "Dora", "Emil",
}

var lastNames = []string{
	"Okafor", "Schmidt", "Nair", "Moreau", "Tanaka", "Garcia", "Kowalski", "Haddad", "Lindberg", "Rossi", "Iyer", "Novak", "Silva",
	"Walsh", "Farouk", "Berg", "Petrov", "Mensah", "Keller", "Costa", "Sato", "Rahman", "Bianchi", "Orlova", "Ramos", "Murphy", "Diaz",
	"Khan", "Reddy", "Osman", "Ivanova", "Zhang", "Flores", "Demir", "Adler", "Bose", "Conti", "Dubois", "Evans", "Fischer",
}

// values are texts that tool calls carry; none of them is anybody's.
var values = []string{
	"OPS", "SUP", "FIN", "Quarterly review", "Renewal 2027", "Incident follow-up", "Weekly summary", "#ops-daily", "#support", "#finance",
	"Customer onboarding", "Invoice check", "Expense report", "Access review", "Release notes", "high", "medium", "low", "open", "in progress",
}

var browsers = []string{
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36",
	"Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
}

var models = []string{"gpt-5-mini", "claude-sonnet-4-5", "gemini-2.5-pro"}

type department struct{ id, name string }

var departments = []department{
	{"dept_support", "Support"},
	{"dept_sales", "Sales"},
	{"dept_finance", "Finance"},
	{"dept_engineering", "Engineering"},
	{"dept_hr", "People"},
	{"dept_marketing", "Marketing"},
	{"dept_it", "IT"},
	{"dept_legal", "Legal"},
}

// tool is an action that agents run. Whether it writes is known to the
// generator only: the records do not say.
type tool struct {
	name, instance, title string
	params                []string
	write                 bool
}

// tools are all the tools of the sample.
var tools = []tool{
	{"jira.search_issues", "ai_jira_prod", "Issues found", []string{"query"}, false},
	{"jira.get_issue", "ai_jira_prod", "Issue", []string{"issue"}, false},
	{"jira.create_issue", "ai_jira_prod", "Issue created", []string{"project", "summary", "priority"}, true},
	{"jira.update_issue", "ai_jira_prod", "Issue updated", []string{"issue", "status"}, true},
	{"jira.add_comment", "ai_jira_prod", "Comment added", []string{"issue", "body"}, true},
	{"slack.search_messages", "ai_slack", "Messages found", []string{"query"}, false},
	{"slack.post_message", "ai_slack", "Message posted", []string{"channel", "text"}, true},
	{"gmail.search", "ai_gmail", "Mails found", []string{"query"}, false},
	{"gmail.send", "ai_gmail", "Mail sent", []string{"to", "subject", "body"}, true},
	{"gmail.create_draft", "ai_gmail", "Draft created", []string{"to", "subject"}, true},
	{"drive.search", "ai_drive", "Files found", []string{"query"}, false},
	{"drive.get_file", "ai_drive", "File", []string{"file"}, false},
	{"drive.create_file", "ai_drive", "File created", []string{"folder", "title"}, true},
	{"drive.share_file", "ai_drive", "File shared", []string{"file", "with"}, true},
	{"salesforce.search_records", "ai_sfdc_prod", "Records", []string{"query"}, false},
	{"salesforce.get_record", "ai_sfdc_prod", "Record", []string{"record"}, false},
	{"salesforce.create_record", "ai_sfdc_prod", "Record created", []string{"object", "name"}, true},
	{"salesforce.update_record", "ai_sfdc_prod", "Record updated", []string{"record", "stage"}, true},
	{"zendesk.search_tickets", "ai_zendesk", "Tickets found", []string{"query"}, false},
	{"zendesk.update_ticket", "ai_zendesk", "Ticket updated", []string{"ticket", "status"}, true},
	{"servicenow.get_incident", "ai_snow", "Incident", []string{"number"}, false},
	{"servicenow.create_incident", "ai_snow", "Incident created", []string{"short_description", "urgency"}, true},
	{"servicenow.update_incident", "ai_snow", "Incident updated", []string{"number", "state"}, true},
	{"github.search_code", "ai_github", "Code found", []string{"query"}, false},
	{"github.get_pull_request", "ai_github", "Pull request", []string{"repo", "number"}, false},
	{"github.create_issue", "ai_github", "Issue created", []string{"repo", "title"}, true},
	{"github.add_comment", "ai_github", "Comment added", []string{"repo", "number", "body"}, true},
	{"confluence.search", "ai_confluence", "Pages found", []string{"query"}, false},
	{"confluence.create_page", "ai_confluence", "Page created", []string{"space", "title"}, true},
	{"confluence.update_page", "ai_confluence", "Page updated", []string{"page", "body"}, true},
	{"calendar.list_events", "ai_calendar", "Events", []string{"range"}, false},
	{"calendar.create_event", "ai_calendar", "Event created", []string{"title", "start"}, true},
	{"workday.get_worker", "ai_workday", "Worker", []string{"worker"}, false},
	{"netsuite.search_invoices", "ai_netsuite", "Invoices found", []string{"query"}, false},
	{"netsuite.create_invoice", "ai_netsuite", "Invoice created", []string{"customer", "amount"}, true},
	{"hubspot.get_contact", "ai_hubspot", "Contact", []string{"contact"}, false},
	{"hubspot.update_contact", "ai_hubspot", "Contact updated", []string{"contact", "stage"}, true},
}

// kind is how an agent is started.
type kind uint8

const (
	interactive kind = iota
	scheduled
	content
)

// part describes an agent before it has an id and an owner.
type part struct {
	name  string
	dept  string
	kind  kind
	tools []string
}

// cast is the agents that have a name. When more are asked for, the list is
// gone through again with a number behind the name.
var cast = []part{
	{"Invoice filer", "Finance", content, []string{"gmail.search", "netsuite.search_invoices", "netsuite.create_invoice"}},
	{"Ticket digest", "Support", scheduled, []string{"zendesk.search_tickets", "slack.post_message"}},
	{"Lead router", "Sales", content, []string{"hubspot.get_contact", "salesforce.search_records", "salesforce.update_record"}},
	{"Standup writer", "Engineering", scheduled, []string{"jira.search_issues", "github.get_pull_request", "slack.post_message"}},
	{"Access review helper", "IT", scheduled, []string{"drive.search", "servicenow.get_incident", "servicenow.update_incident"}},
	{"Onboarding guide", "People", interactive, []string{"confluence.search", "workday.get_worker", "calendar.create_event"}},
	{"Contract finder", "Legal", interactive, []string{"drive.search", "drive.get_file", "confluence.search"}},
	{"Escalation watcher", "Support", content, []string{"zendesk.search_tickets", "jira.search_issues", "jira.create_issue"}},
	{"Pipeline reporter", "Sales", scheduled, []string{"salesforce.search_records", "confluence.update_page"}},
	{"Expense checker", "Finance", scheduled, []string{"netsuite.search_invoices", "gmail.create_draft"}},
	{"Release notes writer", "Engineering", interactive, []string{"github.get_pull_request", "jira.search_issues", "confluence.create_page"}},
	{"Campaign planner", "Marketing", interactive, []string{"hubspot.get_contact", "calendar.create_event", "drive.create_file"}},
	{"Bug triager", "Engineering", content, []string{"github.search_code", "jira.get_issue", "jira.update_issue"}},
	{"Meeting prep", "Sales", scheduled, []string{"calendar.list_events", "salesforce.get_record", "gmail.create_draft"}},
	{"Policy answers", "People", interactive, []string{"confluence.search", "drive.get_file"}},
	{"Incident scribe", "IT", content, []string{"servicenow.get_incident", "servicenow.update_incident", "slack.post_message"}},
	{"Renewal nudger", "Sales", scheduled, []string{"salesforce.search_records", "gmail.create_draft"}},
	{"Knowledge gardener", "Support", scheduled, []string{"confluence.search", "confluence.update_page"}},
	{"Code explainer", "Engineering", interactive, []string{"github.search_code", "github.add_comment"}},
	{"Refund helper", "Support", interactive, []string{"zendesk.search_tickets", "zendesk.update_ticket"}},
	{"Deal desk", "Sales", interactive, []string{"salesforce.get_record", "salesforce.update_record", "slack.post_message"}},
	{"Vendor intake", "Legal", content, []string{"gmail.search", "drive.create_file"}},
	{"Shift planner", "Support", scheduled, []string{"calendar.list_events", "calendar.create_event"}},
	{"Feedback sorter", "Marketing", content, []string{"slack.search_messages", "hubspot.update_contact"}},
	{"Budget tracker", "Finance", interactive, []string{"netsuite.search_invoices", "drive.get_file"}},
	{"Postmortem drafter", "Engineering", interactive, []string{"jira.get_issue", "confluence.create_page"}},
	{"Mail sorter", "Support", content, []string{"gmail.search", "zendesk.update_ticket"}},
	{"Device requester", "IT", interactive, []string{"servicenow.create_incident", "servicenow.get_incident"}},
	{"Interview scheduler", "People", interactive, []string{"calendar.list_events", "calendar.create_event"}},
	{"Account researcher", "Sales", interactive, []string{"salesforce.get_record", "hubspot.get_contact", "drive.search"}},
	{"Review reminder", "Engineering", scheduled, []string{"github.get_pull_request", "github.add_comment"}},
	{"Clause checker", "Legal", interactive, []string{"drive.get_file", "gmail.create_draft"}},
	{"Asset librarian", "Marketing", scheduled, []string{"drive.search", "drive.create_file"}},
	{"Payment chaser", "Finance", scheduled, []string{"netsuite.search_invoices", "gmail.create_draft"}},
	{"Queue balancer", "Support", scheduled, []string{"zendesk.search_tickets", "zendesk.update_ticket"}},
	{"Benefits helper", "People", interactive, []string{"workday.get_worker", "confluence.search"}},
	{"Sprint reporter", "Engineering", scheduled, []string{"jira.search_issues", "confluence.create_page"}},
	{"Press monitor", "Marketing", scheduled, []string{"drive.search", "slack.post_message"}},
	{"License counter", "IT", scheduled, []string{"servicenow.get_incident", "drive.create_file"}},
	{"Quote builder", "Sales", interactive, []string{"salesforce.get_record", "netsuite.search_invoices", "drive.create_file"}},
}

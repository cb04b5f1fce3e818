package grafana

func pipeline() Dashboard {
	p := func(title, unit, query, legend string) Panel {
		return Panel{Title: title, Kind: "timeseries", Source: Prometheus, Unit: unit, Query: query, Legend: legend}
	}
	n := func(title, unit, query string) Panel {
		return Panel{Title: title, Kind: "stat", Source: Prometheus, Unit: unit, Query: query, Width: 4, Height: 4}
	}
	return Dashboard{
		UID: "agentrail-pipeline", Title: "Agentrail: pipeline health", About: "Whether what comes in is kept, looked at and passed on.", From: "now-6h",
		Panels: []Panel{
			n("Journal fill", "percentunit", "max(agentrail:journal_fill:ratio)"),
			n("Oldest unread", "s", "max(agentrail_consumer_oldest_unread_seconds)"),
			n("Parked records", "short", "sum(agentrail_consumer_parked_total)"),
			n("Age of the signed head", "s", "time() - max(agentrail_notary_last_head_timestamp_seconds)"),
			n("Open alerts", "short", "sum(agentrail_detectors_open_alerts)"),
			n("Servers up", "short", `sum(up{job=~"agentrail.*"})`),
			p("Records taken in", "rps", "sum by (source, outcome) (rate(agentrail_collector_records_total[5m]))", "{{source}} {{outcome}}"),
			p("Lag of consumers", "short", "agentrail_consumer_lag_batches", "{{consumer}}"),
			p("Oldest unread by consumer", "s", "agentrail_consumer_oldest_unread_seconds", "{{consumer}}"),
			p("Commits to disk, p99", "s", "agentrail:journal_commit_seconds:p99", "{{instance}}"),
			p("Retries of consumers", "short", "sum by (consumer) (increase(agentrail_consumer_retries_total[5m]))", "{{consumer}}"),
			p("Rows written to the store", "rps", "sum(rate(agentrail_store_events_total[5m]))", "events"),
			p("Sinks: events by outcome", "rps", "sum by (sink, outcome) (rate(agentrail_sinks_events_total[5m]))", "{{sink}} {{outcome}}"),
			p("Transitions of alerts", "short", "sum by (rule, transition) (increase(agentrail_detectors_alerts_total[1h]))", "{{rule}} {{transition}}"),
			p("Brake: behind the journal", "s", "agentrail_brake_behind_seconds", "{{instance}}"),
			p("Gates: time of a decision, p99", "s", "agentrail:gate_decision_seconds:p99", "{{instance}}"),
		},
	}
}

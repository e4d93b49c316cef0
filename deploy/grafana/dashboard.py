"""Writes the dashboard of semel, as JSON for Grafana 10 and later, to standard output.

    python deploy/grafana/dashboard.py > deploy/grafana/semel.json

It needs grafana-foundation-sdk in the version that tools/environment names. The rules of deploy/prometheus must be
loaded: what an alert looks at is drawn from the same recorded series.
"""

import sys

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh, VariableSort

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
OF = 'job=~"$job"'
PAIR = f'{OF},tenant=~"$tenant"'


def query(expression: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().datasource(SOURCE).expr(expression).legend_format(legend).range()


def chart(title: str, description: str, unit: str, *queries: prometheus.Dataquery) -> timeseries.Panel:
    """A third of a row."""
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
    panel = timeseries.Panel().title(title).description(description).unit(unit).datasource(SOURCE)
    panel = panel.legend(legend).fill_opacity(10).min(0).height(8).span(8)
    for place, target in enumerate(queries):
        panel = panel.with_target(target.ref_id(chr(ord("A") + place)))
    return panel


def number(title: str, description: str, unit: str, expression: str, legend: str) -> stat.Panel:
    """A sixth of a row."""
    target = prometheus.Dataquery().datasource(SOURCE).expr(expression).legend_format(legend).instant().ref_id("A")
    panel = stat.Panel().title(title).description(description).unit(unit).datasource(SOURCE)
    return panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"])).height(4).span(4).with_target(target)


def quantile(share: str, metric: str, by: str, labels: str) -> str:
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({metric}_bucket{{{labels}}}[$__rate_interval])))"


def overview(board: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        board.with_row(dashboard.Row("Now"))
        .with_panel(number("Dedup hit rate", "The share of Begins that found earlier work, over 5 minutes.",
                           "percentunit", f"job:semel_dedup_hits:ratio_rate5m{{{OF}}}", "{{job}}"))
        .with_panel(number("Duplicate side effects", "Owners that reported success within an hour after a later "
                           "attempt had begun: what they did may have been done twice.",
                           "short", f"sum by (job) (increase(semel_late_completions_total{{{OF}}}[1h]))", "{{job}}"))
        .with_panel(number("Unresolved keys", "Keys that wait for an operator. Counted once a minute.", "short",
                           f"sum by (job) (job_reason:semel_unresolved_keys:max{{{OF}}})", "{{job}}"))
        .with_panel(number("Retries per operation", "Attempts beyond the first, for each operation completed.",
                           "short", f"job:semel_retries_per_operation:ratio_rate5m{{{OF}}}", "{{job}}"))
        .with_panel(number("Servers", "Servers that are scraped.", "short",
                           f"count by (job, version) (semel_build_info{{{OF}}})", "{{job}} {{version}}"))
        .with_panel(number("Error budget, availability", "How fast the errors of the last hour use the budget of 30 "
                           "days up: 1 is as planned.",
                           "short", f"job:semel_availability:burn_rate1h{{{OF}}}", "{{job}}"))
    )


def decisions(board: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        board.with_row(dashboard.Row("Decisions"))
        .with_panel(chart("Decisions", "What calls came to.", "ops",
                          query("sum by (decision) (rate(semel_decisions_total{"
                                + PAIR + "}[$__rate_interval])) > 0", "{{decision}}")))
        .with_panel(chart("Dedup hit rate", "The share of Begins that found earlier work: a result, an attempt under "
                          "way, or an outcome nobody knows. Beside it what is usual: the day's.", "percentunit",
                          query(f"job_tenant:semel_dedup_hits:ratio_rate5m{{{PAIR}}}", "{{tenant}}"),
                          query(f"job_tenant:semel_dedup_hits:ratio_rate1d{{{PAIR}}}", "{{tenant}}, the day's")))
        .with_panel(chart("Mismatches", "Begins that came with a fingerprint other than their key has.", "ops",
                          query('sum by (tenant, endpoint) (rate(semel_decisions_total{decision="mismatch",'
                                + PAIR + "}[$__rate_interval]))", "{{tenant}} {{endpoint}}")))
        .with_panel(chart("Refused calls", "By the reason that the error carries.", "ops",
                          query(f"sum by (reason) (rate(semel_rejected_total{{{OF}}}[$__rate_interval])) > 0",
                                "{{reason}}")))
        .with_panel(chart("Replays of failures", "The share of replays whose result is a failure.", "percentunit",
                          query(f"job:semel_replayed_failures:ratio_rate15m{{{OF}}}", "{{job}}")))
        .with_panel(chart("Begins", "By tenant.", "ops",
                          query(f"job_tenant:semel_begins:rate5m{{{PAIR}}}", "{{tenant}}")))
        .with_panel(chart("Quotas", "How much of a quota a tenant uses on one server. Measured "
                          "once a minute; a tenant without a quota has none here.", "percentunit",
                          query(f"max by (tenant, quota) (semel_quota_used_ratio{{{PAIR}}})", "{{tenant}} {{quota}}")))
    )


def ownership(board: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        board.with_row(dashboard.Row("Ownership"))
        .with_panel(chart("Duplicate side effects", "Completes that came after a later attempt had begun, for each "
                          "operation completed.", "percentunit",
                          query(f"job:semel_duplicate_side_effects:ratio_rate1h{{{OF}}}", "{{job}}")))
        .with_panel(chart("Takeovers", "Attempts that began after one that was lost, for each attempt that began.",
                          "percentunit", query(f"job:semel_takeovers:ratio_rate15m{{{OF}}}", "{{job}}")))
        .with_panel(chart("Retries per operation", "Attempts beyond the first, for each operation completed.", "short",
                          query(f"job:semel_retries_per_operation:ratio_rate5m{{{OF}}}", "{{job}}")))
        .with_panel(chart("Unresolved keys", "Keys that wait for an operator, and why. Counted once a minute.", "short",
                          query(f"job_reason:semel_unresolved_keys:max{{{OF}}}", "{{reason}}")))
        .with_panel(chart("Open keys", "Keys that are not completed. A store that does not list them has none here.",
                          "short", query(f"job:semel_open_keys:max{{{OF}}}", "{{job}}")))
        .with_panel(chart("Waits", "How long Begins were held that were held at all.", "s",
                          query(quantile("0.5", "semel_wait_seconds", "job", OF), "half"),
                          query(quantile("0.99", "semel_wait_seconds", "job", OF), "99 in 100")))
    )


def store(board: dashboard.Dashboard) -> dashboard.Dashboard:
    written = f'{OF},operation="compare_and_put"'
    return (
        board.with_row(dashboard.Row("Store"))
        .with_panel(chart("Calls to the store", "By what came of them.", "ops",
                          query("sum by (operation, outcome) (rate(semel_store_seconds_count{"
                                + OF + "}[$__rate_interval]))", "{{operation}} {{outcome}}")))
        .with_panel(chart("Latency of writes", "How long conditional writes took.", "s",
                          query(quantile("0.5", "semel_store_seconds", "job", written), "half"),
                          query(quantile("0.99", "semel_store_seconds", "job", written), "99 in 100")))
        .with_panel(chart("Unknown outcomes", "Calls to the store that ended without a word on whether they took "
                          "effect. Most are settled by sending the same write again; the others are told to callers.",
                          "ops",
                          query(f"sum by (job) (rate(semel_store_unknown_outcomes_total{{{OF}}}[$__rate_interval]))",
                                "{{job}}"),
                          query('sum by (job) (rate(semel_rejected_total{reason="STORE_OUTCOME_UNKNOWN",'
                                + OF + "}[$__rate_interval]))", "{{job}}, told to callers")))
    )


def calls(board: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        board.with_row(dashboard.Row("Calls and objectives"))
        .with_panel(chart("Calls", "By status.", "ops",
                          query("sum by (rpc_response_status_code) (rate(rpc_server_call_duration_seconds_count{"
                                + OF + "}[$__rate_interval]))", "{{rpc_response_status_code}}")))
        .with_panel(chart("Latency, 99 in 100", "By method, holding included.", "s",
                          query(quantile("0.99", "rpc_server_call_duration_seconds", "rpc_method", OF),
                                "{{rpc_method}}")))
        .with_panel(chart("Burn rates", "How fast errors, and slow Begins, use the budget of 30 days up: 1 is as "
                          "planned; somebody is called at 14.4 over an hour.", "short",
                          query(f"job:semel_availability:burn_rate1h{{{OF}}}", "availability, an hour"),
                          query(f"job:semel_availability:burn_rate3d{{{OF}}}", "availability, 3 days"),
                          query(f"job:semel_begin_latency:burn_rate1h{{{OF}}}", "Begin latency, an hour"),
                          query(f"job:semel_begin_latency:burn_rate3d{{{OF}}}", "Begin latency, 3 days")))
    )


def variable(name: str, label: str, values: str) -> dashboard.QueryVariable:
    chosen = dashboard.QueryVariable(name).label(label).datasource(SOURCE).query(values)
    chosen = chosen.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    return chosen.multi(True).include_all(True).all_value(".*")


def build() -> str:
    board = (
        dashboard.Dashboard("semel").uid("semel").tags(["semel"]).description("docs/OPERATIONS.md says what to do.")
        .refresh("30s").time("now-3h", "now").timezone("browser").readonly()
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(variable("job", "Job", "label_values(semel_build_info, job)"))
        .with_variable(variable("tenant", "Tenant", 'label_values(semel_decisions_total{job=~"$job"}, tenant)'))
    )
    for rows in (overview, decisions, ownership, store, calls):
        board = rows(board)
    built = board.build()
    for place, panel in enumerate(built.panels, start=1):
        panel.id_val = place
    return JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"


sys.stdout.write(build())

"""The commands, wired together, and how they end."""

from __future__ import annotations

import difflib
import importlib.metadata
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from placet import PlacetError
from placet.cli import terminal
from placet.cli._bundle import export, import_, keygen, verify
from placet.cli._bundle import show as show_bundle
from placet.cli._cache import cache
from placet.cli._config import config
from placet.cli._demo_canary import canary
from placet.cli._demo_regions import regions
from placet.cli._evaluate import evaluate, explain
from placet.cli._init import init
from placet.cli._node import drain, undrain, weight
from placet.cli._node import list_ as list_nodes
from placet.cli._policy_impact import impact
from placet.cli._policy_log_only import log_only
from placet.cli._policy_push import push, validate
from placet.cli._policy_read import diff, get, history, list_
from placet.cli._policy_sync import sync
from placet.cli._policy_test import run_tests
from placet.cli._quickstart import quickstart
from placet.cli._region import list_ as list_regions
from placet.cli._region import route
from placet.cli._region_map import map_
from placet.cli._rollout_show import list_ as list_rollouts
from placet.cli._rollout_show import nodes
from placet.cli._rollout_show import show as show_rollout
from placet.cli._rollout_show import watch as watch_rollout
from placet.cli._rollout_start import start
from placet.cli._rollout_steer import approve, pause, promote, resume, rollback
from placet.cli._serve import serve
from placet.cli._store import accept, check, copy, migrate
from placet.cli._template_apply import apply
from placet.cli._template_read import list_ as list_templates
from placet.cli._template_read import show
from placet.cli._template_remove import remove
from placet.cli._template_test import run_template_tests
from placet.cli._tenant import clear, put
from placet.cli._tenant import get as get_tenant
from placet.cli._tenant import list_ as list_tenants
from placet.cli._tls import dev
from placet.cli._watch import watch
from placet.cli._xds_bootstrap import bootstrap
from placet.cli._xds_clients import clients as xds_clients
from placet.cli.credentials import with_credentials
from placet.cli.failures import EXIT_CODES, ExitCode, Failure, code_of
from placet.cli.files import PathRefused
from placet.cli.findings import FilesRefused

app = typer.Typer(
    name="placet",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=f"[dim]{EXIT_CODES}[/dim]",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"placet {importlib.metadata.version('placet')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Ask Placet for decisions, manage and test policies, run a server."""


def _add(to: typer.Typer, command: Callable[..., Any], name: str, *examples: str) -> None:
    """Add a command, with examples of its use below its options."""
    paragraphs = (command.__doc__ or "").split("\n\n")
    shown = "\n".join(f"  {example}" for example in examples).replace("[", r"\[")
    to.command(
        name,
        help="\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs),
        epilog=f"[bold]Examples[/bold]\n{shown}\n\n[dim]{EXIT_CODES}[/dim]",
    )(with_credentials(command))


def _group(name: str, what: str) -> typer.Typer:
    """Add a group of commands."""
    group = typer.Typer(
        name=name,
        help=what,
        no_args_is_help=True,
        rich_markup_mode="rich",
        epilog=f"[dim]{EXIT_CODES}[/dim]",
    )
    app.add_typer(group)
    return group


_add(
    app,
    evaluate,
    "evaluate",
    "placet evaluate -t demo -s User::alice -a view -r Invoice::paper",
    "placet evaluate -t demo -s User::alice -a pay -r Invoice::laptops -c mfa=true",
    "placet evaluate -t demo --file requests.jsonl --json",
)
_add(
    app,
    explain,
    "explain",
    "placet explain -t demo -s User::bob -a pay -r Invoice::laptops",
    "placet explain -t demo -s User::dan -a view -r Invoice::new -p resource.amount=12",
)
_add(
    app, watch, "watch", "placet watch -t demo", "placet watch -t demo --filter 'invoices/*' --json"
)
_add(
    app,
    cache,
    "cache",
    "placet cache",
    "placet cache -t demo --json",
    "placet cache --watch --interval 1",
)
_add(
    app,
    serve,
    "serve",
    "placet serve",
    "placet serve --listen 127.0.0.1:0 --store memory",
    "placet serve --store postgres --store-url postgresql://placet@db1,db2/placet",
    "placet serve --upstream eu1.example.net:7717,eu2.example.net:7717 --region eu-central",
    "placet serve --config /etc/placet.toml --log-format json",
)
_add(app, quickstart, "quickstart", "placet quickstart", "placet quickstart --keep-data")
_add(app, init, "init", "placet init", "placet init my-policies")
_add(app, config, "config", "placet config", "placet config --explain")

policy = _group("policy", "Publish, read and test policies.")
_add(
    policy,
    run_tests,
    "test",
    "placet policy test .",
    "placet policy test policies tests --fail-on-uncovered --junit report.xml",
    "placet policy test . --server -t demo",
)
_add(
    policy,
    impact,
    "impact",
    "placet policy impact policies --base ../main/policies -t demo --log decisions.jsonl",
    "placet policy impact . --server -t demo --log decisions.jsonl --since 7d --cases tests",
    "zcat old.gz | placet policy impact . --server -t demo --log - --fail-on more-allows",
)
_add(
    policy,
    log_only,
    "log-only",
    "placet policy log-only -t demo --log decisions.jsonl",
    "placet policy log-only -t demo --log decisions.jsonl --server --since 30d",
    "placet policy log-only policies -t demo --log decisions.jsonl --json",
)
_add(
    policy,
    push,
    "push",
    "placet policy push . -t demo -m 'accountants may pay'",
    "placet policy push policies -t demo --dry-run",
    "placet policy push invoices.cedar -t demo",
)
_add(
    policy,
    sync,
    "sync",
    "placet policy sync . -t demo",
    "placet policy sync https://git.example/acme/policies.git -t demo --ref main --watch",
    "placet policy sync /mnt/policies -t demo --watch --status-file /run/placet/sync.json",
)
_add(policy, validate, "validate", "placet policy validate .")
_add(
    policy,
    list_,
    "list",
    "placet policy list -t demo",
    "placet policy list -t demo --kind policy --prefix invoices/ --json",
)
_add(
    policy,
    get,
    "get",
    "placet policy get -t demo invoices/view-all",
    "placet policy get -t demo --schema > policies/demo.cedarschema",
)
_add(
    policy,
    history,
    "history",
    "placet policy history -t demo",
    "placet policy history -t demo --id invoices/pay-large",
)
_add(
    policy, diff, "diff", "placet policy diff -t demo", "placet policy diff -t demo --from 3 --to 7"
)

rollout = _group("rollout", "Bring policies to subjects and nodes step by step.")
_add(
    rollout,
    start,
    "start",
    "placet rollout start . -t demo -m 'accountants may pay' --watch",
    "placet rollout start policies -t demo --canary 5,25,100 --bake 30m --guard denies=2%",
    "placet rollout start . -t demo --at 2026-12-01T09:00Z",
    "placet rollout start . -t demo --manual --approvers leads --deadline 24h",
    "placet rollout start -t demo --restore 41 --immediate",
)
_add(
    rollout,
    watch_rollout,
    "watch",
    "placet rollout watch -t demo",
    "placet rollout watch -t demo --json",
)
_add(
    rollout,
    show_rollout,
    "show",
    "placet rollout show -t demo",
    "placet rollout show 3f2a90c1d7e4 -t demo --diff",
)
_add(
    rollout,
    list_rollouts,
    "list",
    "placet rollout list -t demo",
    "placet rollout list -t demo --state rolled-back --json",
)
_add(
    rollout,
    approve,
    "approve",
    "placet rollout approve -t demo --groups leads",
    "placet rollout approve -t demo --as bob --yes -m 'as discussed'",
)
_add(rollout, pause, "pause", "placet rollout pause -t demo -m 'lunch'")
_add(rollout, resume, "resume", "placet rollout resume -t demo")
_add(
    rollout,
    promote,
    "promote",
    "placet rollout promote -t demo",
    "placet rollout promote -t demo --all",
)
_add(rollout, rollback, "rollback", "placet rollout rollback -t demo -m 'support is flooded'")
_add(
    rollout, nodes, "nodes", "placet rollout nodes -t demo", "placet rollout nodes -t demo --watch"
)

tenant = _group("tenant", "Where tenants' data may be.")
_add(
    tenant,
    put,
    "put",
    "placet tenant put acme --rule EU_ONLY --home eu-west",
    "placet tenant put acme --rule NO_US --affinity eu-central --affinity eu-west",
)
_add(tenant, get_tenant, "get", "placet tenant get acme", "placet tenant get acme --json")
_add(tenant, list_tenants, "list", "placet tenant list", "placet tenant list --json")
_add(
    tenant,
    clear,
    "clear",
    "placet tenant clear acme --address us1.example.net:7443",
    "placet tenant clear acme --yes -m 'moved to the EU'",
)

region = _group("region", "Places with nodes, and the way there.")
_add(region, list_regions, "list", "placet region list", "placet region list --json")
_add(
    region,
    route,
    "route",
    "placet region route -t acme --country IE",
    "placet region route -t acme --at=-33.9,151.2",
    "placet region route -t acme --from-region us-east --json",
)

_add(
    region,
    map_,
    "map",
    "placet region map",
    "placet region map --watch",
    "placet region map --svg regions.svg",
)

node = _group("node", "The processes that answer: how they fare, and who gets calls.")
_add(
    node,
    list_nodes,
    "list",
    "placet node list",
    "placet node list --region eu-west --watch",
    "placet node list --json",
)
_add(node, drain, "drain", "placet node drain eu1")
_add(node, undrain, "undrain", "placet node undrain eu1")
_add(node, weight, "weight", "placet node weight eu1 50")

template = _group(
    "template", "Policies that ship with Placet: look at them, fill them in, publish them."
)
_add(template, list_templates, "list", "placet template list", "placet template list --json")
_add(template, show, "show", "placet template show change-freeze")
_add(
    template,
    apply,
    "apply",
    "placet template apply ownership -t demo --set resource_type=Invoice",
    "placet template apply agent-guardrails -t demo --set approvers=leads --set max_amount=50000",
    "placet template apply multi-tenant-rbac -t demo --resource Organisation::red "
    "--set editors=Group::red --dry-run",
)
_add(
    template,
    remove,
    "remove",
    "placet template remove change-freeze -t demo --id change-freeze/production",
)
_add(template, run_template_tests, "test", "placet template test", "placet template test ownership")
demo = _group("demo", "See what Placet does, on a server of its own that is gone afterwards.")
_add(demo, canary, "canary", "placet demo canary", "placet demo canary --plain")
_add(
    demo,
    regions,
    "regions",
    "placet demo regions",
    "placet demo regions --plain",
    "placet demo regions --plain --script 'wait 2; kill eu-west; wait 5; back all'",
)

bundle = _group("bundle", "Carry a tenant's policies from server to server in signed files.")
_add(bundle, keygen, "keygen", "placet bundle keygen", "placet bundle keygen -o ~/keys/release")
_add(
    bundle,
    export,
    "export",
    "placet bundle export -t demo -o demo.bundle --key placet-bundle.key.pem",
    "placet bundle export --from . -o policies.bundle --key placet-bundle.key.pem",
)
_add(
    bundle,
    verify,
    "verify",
    "placet bundle verify demo.bundle --key placet-bundle.pub.pem",
    "placet bundle verify demo.bundle --key old.pub.pem --key new.pub.pem",
)
_add(bundle, show_bundle, "show", "placet bundle show demo.bundle")
_add(
    bundle,
    import_,
    "import",
    "placet bundle import demo.bundle -t demo --key placet-bundle.pub.pem --dry-run",
    "placet bundle import demo.bundle -t demo --key placet-bundle.pub.pem",
)

store = _group("store", "Look after the store that nodes keep policies in.")
_add(
    store,
    migrate,
    "migrate",
    "placet store migrate",
    "placet store migrate postgresql://owner@db1,db2/placet",
)
_add(store, check, "check", "placet store check", "placet store check placet.db --json")
_add(
    store,
    copy,
    "copy",
    "placet store copy placet.db postgresql://placet@db1,db2/placet",
    "placet store copy postgresql://placet@db1/placet placet.db",
)
_add(store, accept, "accept", "placet store accept postgresql://placet@db1,db2/placet")
xds = _group("xds", "Stock clients of gRPC, and Envoys, that balance by themselves.")
_add(
    xds,
    bootstrap,
    "bootstrap",
    "placet xds bootstrap --region eu-west -o placet-xds.json",
    "placet xds bootstrap --server dns:///placet.internal:7717 -t acme --residency EU_ONLY",
    "placet xds bootstrap --server eu1.example.net:7717,eu2.example.net:7717 --tls-ca ca.pem",
    "placet xds bootstrap --envoy --listen 127.0.0.1:7718 -o envoy.json",
)
_add(
    xds,
    xds_clients,
    "clients",
    "placet xds clients",
    "placet xds clients --watch",
    "placet xds clients --address eu1.example.net:7717 --json",
)
tls = _group("tls", "Certificates for trying TLS out.")
_add(
    tls,
    dev,
    "dev",
    "placet tls dev",
    "placet tls dev -o try --host placet.internal --client ann --client orders",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. Nothing that was foreseen ends in a traceback."""
    try:
        result = app(args=arguments, prog_name="placet", standalone_mode=False)
    except typer.TyperException as error:
        return _usage(error)
    except (Failure, PathRefused) as failure:
        terminal.error(str(failure))
        return failure.code if isinstance(failure, Failure) else ExitCode.USAGE
    except FilesRefused as refused:
        terminal.print_findings(refused.findings, refused.texts)
        return ExitCode.FAILED
    except PlacetError as error:
        terminal.error(error.message)
        return code_of(error)
    return result if isinstance(result, int) else ExitCode.OK


def _usage(error: typer.TyperException) -> int:
    """Tell what is wrong with the command in the way all our messages do."""
    message = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        # The help has been printed already.
        return ExitCode.OK
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "placet"
    terminal.error(f"{_in_our_words(message)}; see `{command} --help`")
    return ExitCode.USAGE


_UNKNOWN_OPTION = re.compile(r"no such option: (\S+)(?: \(Possible options: (.*)\))?")


def _in_our_words(message: str) -> str:
    """Put typer's messages the way ours are."""
    message = re.sub(r"'([^']*)'", r"`\1`", message).rstrip(".?")
    message = re.sub(r"(?:^|(?<=: ))[A-Z](?=[a-z])", lambda found: found.group().lower(), message)
    unknown = _UNKNOWN_OPTION.fullmatch(message)
    if unknown is not None:
        close = difflib.get_close_matches(unknown[1], (unknown[2] or "").split(", "), 1, 0.0)
        hint = f"; did you mean `{close[0]}`" if close and close[0] else ""
        return f"no such option `{unknown[1]}`{hint}"
    return message.replace(". Did you mean", "; did you mean")

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from placet import Position
from placet.cli import terminal
from placet.cli.findings import Finding
from tests.cli.recorded import TENANT, record, write_log
from tests.cli.shell import PATIENCE_S, Shell, environment, running


def test_help_says_what_there_is_and_what_exit_codes_mean(shell: Shell) -> None:
    result = shell("--help")

    assert result.code == 0
    for command in ("evaluate", "explain", "watch", "cache", "serve", "policy", "init", "bundle"):
        assert command in result.out
    assert "exit codes: 0 done or allowed" in " ".join(result.out.split())


@pytest.mark.parametrize(
    "command",
    [
        *(("evaluate",), ("explain",), ("watch",), ("serve",), ("init",), ("config",)),
        *(("quickstart",), ("cache",)),
        *(("policy", name) for name in ("push", "validate", "list", "get", "history")),
        *(("policy", name) for name in ("diff", "test", "impact", "log-only", "sync")),
        *(("template", name) for name in ("list", "show", "apply", "remove", "test")),
        *(("bundle", name) for name in ("keygen", "export", "verify", "show", "import")),
    ],
)
def test_every_command_has_help_with_an_example(shell: Shell, command: tuple[str, ...]) -> None:
    result = shell(*command, "--help")

    assert result.code == 0
    assert "Examples" in result.out
    assert f"placet {' '.join(command)}" in result.out.partition("Examples")[2]


def test_without_a_command_there_is_help(shell: Shell) -> None:
    assert "Usage" in shell().out
    assert "Usage" in shell("policy").out


def test_version(shell: Shell) -> None:
    result = shell("--version")

    assert (result.code, result.out) == (0, "placet 0.1.0\n")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("evalute", "no such command `evalute`; did you mean `evaluate`; see `placet --help`"),
        ("policy pusj", "no such command `pusj`; did you mean `push`; see `placet policy --help`"),
        (
            "evaluate --tenat x",
            "no such option `--tenat`; did you mean `--tenant`; see `placet evaluate --help`",
        ),
        ("evaluate", "missing option `--tenant` / `-t`"),
        ("evaluate -t x --timeout soon", "invalid value for `--timeout`: input should be"),
        ("evaluate -t x --timeout 0 -s U::a -a v -r D::x", "`--timeout` is 0; give it some"),
        ("evaluate -t x", "`--subject` is missing"),
        ("evaluate -t x -s a -a v -r D::x", "--subject: `a` names no entity"),
        ("evaluate -t x -s U::a -a v -r D::x -c a", "--context is `a`; write it as name=value"),
        ("evaluate -t x -s U::a -a v -r D::x -c a=1.5", "--context a: policies know no floating"),
        ("evaluate -t x -s U::a -a v -r D::x -c a=1 -c a=2", "--context names `a` twice"),
        ("evaluate -t x -s U::a -a v -r D::x -p x=1", "--property is `x=1`; write it like"),
        ("evaluate -t x -s U::a -a v -r D::x --context-json {", "--context-json is not JSON"),
        ("evaluate -t x -s U::a -a v -r D::x --context-json [1]", "`context` is a list; write"),
        ("evaluate -t x -s U::a -a v -r D::x --context-json @no", "`no` cannot be read"),
        ("evaluate -t x --file no.json", "`no.json` cannot be read"),
        ("evaluate -t x --file no.json -s U::a", "`--file` has whole requests"),
        ("policy push no -t x", "`no` is not there; name a folder of policies, or a file"),
        ("policy push .", "whose policies? name a tenant with --tenant, or --platform"),
        ("policy push . -t x --platform", "`--tenant` and `--platform` exclude each other"),
        ("policy push . -t x", "there are no policies in `.`"),
        ("policy validate .", "there are no policies in `.`"),
        ("policy test .", "there are no test cases in `.`"),
        ("policy test . --server", "`--server` needs `--tenant`"),
        ("policy impact . --base .", "what to try it on? name a decision log with --log, or"),
        ("policy impact . --log x -t y", "what is it to be compared with? name the policies as"),
        ("policy impact . --log x --server --base .", "what is it to be compared with?"),
        ("policy impact . --log x --server", "`--server` needs `--tenant`: whose policies?"),
        ("policy impact . --cases . --base . --platform", "`--platform` goes with --server"),
        ("policy impact . --cases . --base .", "there are no policies in `.`"),
        ("policy impact . --cases . --server -t x", "there are no policies in `.`"),
        ("policy impact . --log x -t y --server", "there is no decision log at `x`"),
        ("policy impact . --log - --server -t x --since soon", "`--since` is `soon`; write a time"),
        (
            "policy impact . --log x --fail-on none --fail-on any",
            "`--fail-on none` goes with no other",
        ),
        ("policy impact . --log x --fail-on all", "invalid value for `--fail-on`"),
        ("policy log-only -t x", "which decisions? name a decision log with --log"),
        ("policy log-only --log x", "whose decisions? name a tenant with --tenant"),
        ("policy log-only . --server --log x -t x", "the policies are in folders or on --server"),
        ("policy log-only --log x -t x", "there is no decision log at `x`"),
        ("policy get -t x", "name policies by their ids, or --schema"),
        ("policy list -t x --kind polcy", "`polcy` is no kind of item; did you mean `policy`?"),
        ("cache --limit 1001", "invalid value for `--limit` / `-n`: input should be"),
        ("cache --timeout 0", "`--timeout` is 0; give it some"),
        ("serve --listen nowhere", "`server.listen` is `nowhere` (flag); write it as host:port"),
        ("serve --config no.toml", "cannot read `no.toml`"),
        ("serve --log-level loud", "`log.level` is `loud` (flag); use one of debug"),
        ("serve --listen 0.0.0.0:0", "can be reached by others"),
        ("config --config no.toml", "cannot read `no.toml`"),
    ],
)
def test_wrong_usage_is_one_line_that_says_what_to_do(
    shell: Shell, command: str, message: str
) -> None:
    result = shell(*command.split())

    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert message in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        "evaluate -t x -s U::a -a v -r D::x --timeout 5",
        "explain -t x -s U::a -a v -r D::x --timeout 5",
        "policy list -t x --timeout 5",
        "policy impact a.cedar -t x --log log --server --timeout 5",
        "policy log-only -t x --log log --server --timeout 5",
        "cache --timeout 5",
        "cache --watch --timeout 5",
    ],
)
def test_without_a_server_there_is_no_answer(tmp_path: Path, shell: Shell, command: str) -> None:
    (tmp_path / "a.cedar").write_text("permit (principal, action, resource);")
    (tmp_path / "log").touch()
    # Nobody may listen on port 1.
    result = shell(*command.split(), "--address", "127.0.0.1:1")

    assert result.code == 5
    assert "no server answers at `127.0.0.1:1` (connection refused)" in result.err
    assert "`placet serve`" in result.err


def test_without_the_extra_the_command_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError('no typer', name='typer')")

    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "from placet.cli.main import run; raise SystemExit(run(['--help']))",
        ],
        env=environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "the command line needs `pip install 'placet[cli]'`\n"


def test_a_command_for_clients_needs_nothing_of_the_server(tmp_path: Path) -> None:
    """`pip install placet[cli]` is enough to ask a server."""
    for module in ("cedarpy", "sqlalchemy", "cachetools", "alembic", "uvloop"):
        (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError(name='{module}')")
    code = "import sys; from placet.cli.main import run; raise SystemExit(run(sys.argv[1:]))"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=environment(PYTHONPATH=str(tmp_path)),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    asked = run(
        "evaluate", "-t", "x", *["-s", "U::a", "-a", "v", "-r", "D::x", "--address", "127.0.0.1:1"]
    )
    (tmp_path / "a.cedar").write_text("permit (principal, action, resource);")
    (tmp_path / "a_test.yaml").write_text(
        "cases: [{name: n, subject: U::a, action: v, resource: D::x, expect: ALLOW}]"
    )
    tested = run("policy", "test", ".")
    tried = run("policy", "impact", "a.cedar", "--base", "a.cedar", "--cases", "a_test.yaml")
    served = run("serve")

    assert "no server answers" in asked.stderr
    assert (tested.returncode, tried.returncode, served.returncode) == (1, 1, 1)
    assert "impact needs `pip install 'placet[local]'`" in tried.stderr
    assert "testing without --server needs `pip install 'placet[local]'`" in tested.stderr
    assert "a server needs `pip install 'placet[server]'`" in served.stderr


def test_a_pipeline_needs_nothing_of_the_server(tmp_path: Path) -> None:
    """`pip install placet[cli,local]` is enough to try a candidate on what was recorded."""
    for module in ("sqlalchemy", "alembic", "aiosqlite", "opentelemetry", "uvloop"):
        (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError(name='{module}')")
    (tmp_path / "a.cedar").write_text('@id("view") permit (principal, action, resource);')
    write_log(tmp_path / "log", record())
    code = "import sys; from placet.cli.main import run; raise SystemExit(run(sys.argv[1:]))"

    for arguments, end in (
        (("impact", "a.cedar", "--base", "a.cedar"), "no answer changes\n"),
        (("log-only", "a.cedar"), "would have changed any of them\n"),
    ):
        ended = subprocess.run(
            [sys.executable, "-c", code, "policy", *arguments, "-t", TENANT, "--log", "log"],
            env=environment(PYTHONPATH=str(tmp_path)),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.endswith(end)


def test_a_reader_that_has_seen_enough_is_no_failure(starter: Path) -> None:
    """`placet policy test --json | head -c 1`: a closed pipe is no traceback."""
    ended = subprocess.run(
        ["bash", "-c", "placet policy test . --json -v | true; echo ${PIPESTATUS[0]}"],
        env=environment(),
        cwd=starter,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.stderr == ""
    assert ended.stdout.strip() in ("0", "1")


def test_shells_can_complete_commands(shell: Shell) -> None:
    ended = subprocess.run(
        ["placet"],
        env=environment(_PLACET_COMPLETE="complete_bash", COMP_WORDS="placet pol", COMP_CWORD="1"),
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.stdout.strip() == "policy"


# --------------------------------------------------------------------------------- terminals


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert terminal.safe("a\x1b[31mb\x07\u202e\tc\nd") == "a\\u{1b}[31mb\\u{7}\\u{202e}\tc\nd"


def test_a_finding_quotes_its_line_and_points_at_the_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    finding = Finding("unexpected `x`", Position(file="a", line=2, column=4))
    wide = "\N{CJK UNIFIED IDEOGRAPH-65E5}" * 2

    terminal.print_findings([finding], {"a": ("dir/a.cedar", f"first\n{wide} x\n")})

    assert capsys.readouterr().err == (
        f"dir/a.cedar:2:4: error: unexpected `x`\n    2 | {wide} x\n      |      ^\n"
    )


@pytest.mark.parametrize("width", ["20", "40"])
def test_a_narrow_terminal_folds_and_loses_nothing(
    starter: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)

    result = shell("policy", "test", ".", "-v")

    assert result.code == 0
    assert "colleagues see it without the bank details" in result.out


def test_colour_is_for_terminals_that_want_it(
    starter: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in shell("policy", "test", ".").out

    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in shell("policy", "test", ".").out


def test_a_terminal_without_unicode_gets_question_marks_not_a_traceback(starter: Path) -> None:
    ended = subprocess.run(
        ["placet", "--help"],
        env=environment(PYTHONIOENCODING="ascii", LC_ALL="C"),
        cwd=starter,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr


def test_a_question_can_be_interrupted(tmp_path: Path) -> None:
    """A peer that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        arguments = [
            "evaluate",
            *["-t", "x", "-s", "U::a", "-a", "v", "-r", "D::x", "--timeout", "600", "--address"],
        ]
        with running(*arguments, address, cwd=tmp_path) as process:
            silent.settimeout(PATIENCE_S)
            connection, _ = silent.accept()
            result = process.end(signal.SIGINT)
            connection.close()

    assert (result.code, result.out) == (130, "")
    assert "Traceback" not in result.err

"""``colorcli colorize``: colour photographs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import typer

from colorcli import stores
from colorcli.cli import output as data
from colorcli.cli import pipe
from colorcli.cli.backend_options import Backend, Compile, Device, Precision
from colorcli.cli.completion import complete_model
from colorcli.cli.control_options import with_controls
from colorcli.cli.paths import PathOrUrl, path_or_url
from colorcli.errors import ColorcliError, ExitCode, UsageError
from colorcli.images import formats

if TYPE_CHECKING:
    from colorcli.colorize.events import Event, RunStart
    from colorcli.colorize.executors import Executor, Work
    from colorcli.colorize.options import Pages
    from colorcli.colorize.plan import Plan
    from colorcli.colorize.run import Report, Request, Run
    from colorcli.images.credentials import Identity
    from colorcli.images.output_profile import OutputProfile

_MANY = 20
_LONG = 60.0


@with_controls
def colorize(
    ctx: typer.Context,
    inputs: Annotated[
        list[PathOrUrl] | None,
        typer.Argument(
            parser=path_or_url,
            metavar="INPUT",
            help="Folders, files and URLs; - for names on stdin, or with -o - an image.",
        ),
    ] = None,
    output: Annotated[
        PathOrUrl | None,
        typer.Option(
            "--output",
            "-o",
            parser=path_or_url,
            metavar="PATH|URL",
            help="Folder (or file, for a single photograph; - for stdout). [default: INPUT_colorized]",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Name, run folder, weights file or ONNX file.", autocompletion=complete_model)
    ] = "bigcolor",
    samples: Annotated[int, typer.Option(help="Colourings per photograph.", min=1)] = 1,
    size: Annotated[
        int | None, typer.Option(help="Working size in pixels. [default: the model's]", min=32, max=4096)
    ] = None,
    render_factor: Annotated[
        int | None, typer.Option(help="Working size in sixteenths, as DeOldify counts it: 35 is 560.", min=2, max=256)
    ] = None,
    strength: Annotated[float, typer.Option(help="Multiply chroma by this.", min=0, max=2)] = 1.0,
    vividness: Annotated[float, typer.Option(help="Paler (0) to more vivid (1) colours.", min=0, max=1)] = 0.5,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    compile_network: Compile = False,
    batch_size: Annotated[str, typer.Option(metavar="auto|N", help="Photographs per batch.")] = "auto",
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", help="Threads that decode and encode. [default: one per CPU]", min=1)
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="|".join(formats.main_options()), help="Output format. [default: the input's]"
        ),
    ] = None,
    quality: Annotated[int, typer.Option(help="JPEG and WebP quality.", min=1, max=100)] = 95,
    output_profile: Annotated[
        str, typer.Option(metavar="NAME|FILE.icc", help="srgb, adobe-rgb, display-p3, prophoto or an ICC file.")
    ] = "srgb",
    pages: Annotated[
        str, typer.Option(metavar="first|all|largest", help="Pages of a TIFF to colour; all writes one TIFF again.")
    ] = "largest",
    negative: Annotated[bool, typer.Option("--negative", help="Photographs are negatives: invert them first.")] = False,
    include: Annotated[
        list[str] | None, typer.Option(help="Only names that match, such as '*.tif'; repeatable.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Skip names that match, such as 'drafts/*'; repeatable.")
    ] = None,
    files_from: Annotated[
        Path | None, typer.Option(help="File of names, one a line (or NUL between them); - for stdin.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N photographs.", min=1)] = None,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help="Only the I-th of N parts.")] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where the work is done: threads here, or a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(metavar="auto|HOST", help="Head of a Ray cluster. [default: start Ray here]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Ray workers, each with --jobs CPUs. [default: as many as fit]", min=1)
    ] = None,
    gpus_per_worker: Annotated[float, typer.Option(help="GPUs of each Ray worker; may be a fraction.", min=0)] = 0.0,
    recolor: Annotated[
        bool, typer.Option("--recolor", help="Also colour photographs that already have colour.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs made with other parameters or by other programs.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Decode every output in full, not only its header.")] = False,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Colour what is left of damaged photographs; a note says what is missing.")
    ] = False,
    keep_times: Annotated[
        bool, typer.Option("--keep-times", help="Give outputs the modification times of their photographs.")
    ] = False,
    max_megapixels: Annotated[
        float, typer.Option("--max-megapixels", min=0.01, help="Refuse photographs larger than this.")
    ] = 1000,
    report: Annotated[
        bool, typer.Option("--report", help="Write OUTPUT/report.html, to look at the run and choose among samples.")
    ] = False,
    uncertainty: Annotated[
        str | None,
        typer.Option(
            metavar="models|samples|bins|NAME,…",
            help="Write a map and a score of how unsure the colours are, by how far models (or NAMEs) disagree.",
        ),
    ] = None,
    manifest: Annotated[
        bool, typer.Option("--manifest", help="Write OUTPUT/SHA256SUMS, as sha256sum -c reads it.")
    ] = False,
    sidecar: Annotated[
        bool, typer.Option("--sidecar", help="Write OUTPUT.json beside each output: PREMIS objects and events.")
    ] = False,
    bag: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Pack the finished outputs into a BagIt bag in DIR.")
    ] = None,
    mark: Annotated[
        str | None, typer.Option(metavar="visible", help="Draw a small mark in the lower right corner.")
    ] = None,
    c2pa_key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Sign Content Credentials with this private key.")
    ] = None,
    c2pa_certificate: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Certificate of --c2pa-key, with its chain.")
    ] = None,
    c2pa_timestamp: Annotated[
        str | None, typer.Option(metavar="URL", help="Time-stamping authority to ask for each signature.")
    ] = None,
    picks: Annotated[
        list[Path] | None,
        typer.Option(help="Make only the colourings chosen in a report (picks.json); repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and change nothing.")] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line for every photograph.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where failures come from.")] = False,
    **asked: Any,
) -> None:
    """Colour photographs: folders with their subfolders, or single files. Run again to continue or repair a run.

    Finished photographs are left as they are; an input is never overwritten.
    """
    if pipe.is_asked(output):
        pipe.colorize_one(colorize, ctx, inputs or [])
        return
    from colorcli.colorize.run import Run

    executor = _executor(engine, address, workers, gpus_per_worker)
    if engine == "ray" and any(isinstance(one, str) for one in (output, *(inputs or []))):
        raise UsageError(
            "--engine ray takes folders that all machines share, not URLs; for URLs, use --shard on each machine."
        )
    folders, listed = _inputs(inputs or [], files_from)
    request = request_of(ctx, folders, output, listed)
    with data.waiting("Looking for photographs and planning", quiet=quiet):
        run = Run(request)
    if dry_run:
        _print_plan(run.plan, json=json)
        return
    # Nobody would look for a GPU to colour a few photographs.
    automatic = device == "auto" and run.plan.estimated_seconds() > _LONG
    outcome = _carry_out(run, executor, automatic=automatic, quiet=quiet, verbose=verbose, json=json)
    if not quiet:
        _summarize(outcome, run.plan, verbose=verbose, debug=debug)
    if outcome.fatal is not None:
        raise outcome.fatal
    if outcome.came_to_its_end:
        _deliver(run, quiet=quiet, json=json)
    raise typer.Exit(int(outcome.exit_code))


def request_of(
    ctx: typer.Context, inputs: Sequence[PathOrUrl], output: PathOrUrl | None, listed: Sequence[str] = ()
) -> Request:
    """The request that a command's options make: those of ``colorize`` that it has.

    Raises:
        UsageError: a value is invalid, or conflicts with another.
    """
    from colorcli.colorize.options import Execution
    from colorcli.colorize.plan import parse_shard
    from colorcli.colorize.run import Request
    from colorcli.pipeline.controls import declared_settings

    given = ctx.params
    controls = [setting.keyword for _, setting in declared_settings()]
    return Request(
        tuple(inputs),
        listed=tuple(listed),
        output=output,
        model=given["model"],
        controls={name: given[name] for name in controls},
        samples=given["samples"],
        size=_working_size(given["size"], given["render_factor"]),
        strength=given["strength"],
        vividness=given["vividness"],
        format=formats.format_of_option(given["form"]) if given["form"] is not None else None,
        quality=given["quality"],
        negative=given["negative"],
        pages=_pages(given["pages"]),
        profile=_profile(given["output_profile"]),
        backend=given["backend"],
        device=given["device"],
        precision=given["precision"],
        compile=given["compile_network"],
        include=tuple(given["include"] or ()),
        exclude=tuple(given["exclude"] or ()),
        shard=parse_shard(given["shard"]) if given.get("shard") else None,
        limit=given.get("limit"),
        picks=tuple(given.get("picks") or ()),
        insisted=frozenset(name for name in given if _is_given(ctx, name)),
        overwrite=given["overwrite"],
        report=bool(given.get("report")) and not given.get("dry_run"),
        manifest=bool(given.get("manifest")),
        sidecars=bool(given.get("sidecar")),
        bag=given.get("bag"),
        mark=_mark(given["mark"]),
        uncertainty=given.get("uncertainty"),
        signer=_signer(given["c2pa_key"], given["c2pa_certificate"], given["c2pa_timestamp"]),
        execution=Execution(
            batch_size=_batch_size(given["batch_size"]),
            recolor=given["recolor"],
            fail_fast=bool(given.get("fail_fast")),
            verify=given["verify"],
            salvage=given["salvage"],
            keep_times=given["keep_times"],
            largest=round(given["max_megapixels"] * 1e6),
            jobs=given["jobs"] or Execution.jobs,
        ),
        configuration={name: _plain(value) for name, value in given.items()},
    )


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _working_size(size: int | None, render_factor: int | None) -> int | None:
    from colorcli.networks.size import RENDER_BASE

    if render_factor is None:
        return size
    if size is not None:
        raise UsageError("--render-factor and --size both set the working size: give one of them.")
    return RENDER_BASE * render_factor


def _pages(asked: str) -> Pages:
    from colorcli.colorize.options import Pages

    if asked not in get_args(Pages):
        raise UsageError(f"--pages must be first, all or largest, not '{asked}'.")
    return cast("Pages", asked)


def _profile(asked: str) -> OutputProfile | None:
    from colorcli.images.output_profile import output_profile

    return output_profile(asked)


def _mark(text: str | None) -> Literal["visible"] | None:
    if text in (None, "visible"):
        return "visible" if text else None
    raise UsageError(f"--mark must be visible, not '{text}'.")


def _signer(key: Path | None, certificate: Path | None, timestamp: str | None) -> Identity | None:
    from colorcli.images.credentials import Identity

    if key is not None and certificate is not None:
        return Identity(str(key), str(certificate), timestamp)
    if key is not None or certificate is not None or timestamp is not None:
        raise UsageError("Content Credentials need both --c2pa-key and --c2pa-certificate.")
    return None


def _executor(
    engine: str, address: str | None, workers: int | None, gpus_per_worker: float
) -> Callable[[Work], Executor]:
    """Where the work is done."""
    from functools import partial

    if engine == "ray":
        from colorcli.colorize.executors.ray import RayExecutor

        return partial(RayExecutor, address=address, workers=workers, gpus_per_worker=gpus_per_worker)
    from colorcli.colorize.executors.local import LocalExecutor

    if address is not None or workers is not None or gpus_per_worker:
        raise UsageError("--address, --workers and --gpus-per-worker are for --engine ray; add it or omit them.")
    return LocalExecutor


def _batch_size(text: str) -> int | None:
    if text == "auto":
        return None
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    raise UsageError(f"--batch-size must be auto or at least 1, not '{text}'.")


def _inputs(inputs: Sequence[PathOrUrl], files_from: Path | None) -> tuple[list[PathOrUrl], list[str]]:
    """The inputs that were named, and the names from a list."""
    folders = [path for path in inputs if str(path) != "-"]
    if files_from is None and len(folders) == len(inputs):
        if not inputs:
            raise UsageError("Say what to colour: folders, files, or a list of names with --files-from.")
        return folders, []
    try:
        piped = files_from is None or str(files_from) == "-"
        content = sys.stdin.buffer.read() if piped or files_from is None else files_from.read_bytes()
    except OSError as error:
        raise UsageError(f"The list {files_from} cannot be read: {error.strerror or error}.") from error
    if formats.format_of_content(content[:32]) is not None:
        raise UsageError(
            "A list of file names is expected, not a photograph's content; add -o - to colour it to stdout."
        )
    text = content.decode(sys.getfilesystemencoding(), "surrogateescape")
    names = text.split("\0") if "\0" in text else [line.removesuffix("\r") for line in text.split("\n")]
    if any(map(stores.is_url, names)):
        raise UsageError("A list cannot contain URLs; give URLs as arguments, with --include.")
    return folders, [name for name in names if name]


def _is_given(ctx: typer.Context, parameter: str) -> bool:
    """Whether an option was given on the command line itself: only then may it contradict a picks file."""
    source = ctx.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def _deliver(run: Run, *, quiet: bool, json: bool) -> None:
    from colorcli.colorize.events import to_line
    from colorcli.text import printable

    with data.waiting("Writing reports, manifests and sidecars", quiet=quiet) as counted:
        for made in run.deliver(lambda what, done, total: counted(done, total)):
            if json:
                data.line(to_line(made).rstrip("\n"))
            if not quiet:
                name = made["event"].removesuffix(".written").capitalize()
                about = f" ({made['outputs']} outputs)" if "outputs" in made else ""
                data.note(f"{name}: {printable(made['path'])}{about}")


def _introduction(start: RunStart, *, automatic: bool) -> str:
    engine = "PyTorch" if start["backend"] == "pytorch" else "ONNX Runtime"
    text = f"Using {start['model']}, weights {start['weights_sha256'][:6]}…, on {start['device']} ({engine})"
    if automatic and start["device"] == "cpu":
        text += "\nNo GPU was found, so the CPU is used; 'colorcli doctor' lists the devices."
    return text


def _carry_out(
    run: Run, executor: Callable[[Work], Executor], *, automatic: bool, quiet: bool, verbose: bool, json: bool
) -> Report:
    from colorcli.cli.progress import display
    from colorcli.colorize.events import to_line
    from colorcli.colorize.plan import check_room
    from colorcli.stopping import Stop, aborting_at_once, stopping_on_signals

    warning = check_room(run.plan)
    if warning and not quiet:
        data.note(warning)
    stop = Stop()
    closed: list[OSError] = []  # set when the reader of stdout has gone
    total, unit = run.plan.pending + len(run.plan.verdicts), _unit(run.plan)
    shown = display(total, quiet=quiet, verbose=verbose, work=run.plan.work(), unit=unit)

    def observe(record: Event) -> None:
        if record["event"] == "notice":
            shown.say(record["message"])
        elif record["event"] == "run.start":
            shown.say(_introduction(record, automatic=automatic))
        shown.show(record)
        if json and not closed:
            try:
                data.line(to_line(record).rstrip("\n"))
            except OSError as error:
                closed.append(error)
                stop.request()

    def announce() -> None:
        shown.say("Finishing what is in flight; Ctrl-C again aborts.")

    with aborting_at_once(), shown, stopping_on_signals(stop, announce):
        report = run.carry_out(observe=observe, waiting=shown.wait, stop=stop, executor=executor)
    if closed:
        raise closed[0]
    return report


def _summarize(report: Report, plan: Plan, *, verbose: bool, debug: bool) -> None:
    from colorcli.text import printable

    # --verbose has already printed a line for each. All samples of a photograph have the same.
    skips = [] if verbose else list(dict.fromkeys((skip.input, skip.reason) for skip in report.skips))
    for name, reason in skips[:_MANY]:
        data.note(f"skipped {printable(name)}: {printable(reason)}")
    if len(skips) > _MANY:
        data.note(f"… and {len(skips) - _MANY} more skipped; --verbose lists them all")
    for name, reason, trace in dict.fromkeys((one.input, one.reason, one.trace) for one in report.failures):
        data.note(f"failed {printable(name)}: {printable(reason)}")
        if debug and trace:
            data.note(trace)
    unit = _unit(plan)
    parts = [f"{report.done} {'coloured' if unit == 'photos' else unit}"]
    parts += [f"{report.already} done already"] if report.already else []
    parts += [f"{report.skipped} skipped", f"{report.failed} failed", *_passed_over(plan)]
    parts += [f"{report.unprocessed} left for the next run"] if report.unprocessed else []
    ready = f", {duration(report.setup_seconds)} of it to get ready" if report.setup_seconds > data.PATIENCE else ""
    speed = f" ({report.outputs_per_second:.2f} {unit}/s)" if report.done else ""
    places = ", ".join(printable(str(plan.place(root))) for root in plan.roots)
    data.note(f"{', '.join(parts)} in {duration(report.seconds)}{ready}{speed}: {places}")
    if report.exit_code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED) and report.unprocessed:
        data.note("Stopped on request; run again to continue.")


def _unit(plan: Plan) -> str:
    """What is counted: photographs, or with several of each colourings."""
    return "colourings" if plan.pending > len(plan.tasks) else "photos"


def _passed_over(plan: Plan) -> list[str]:
    """Counts of what was passed over in the inputs."""
    system = "folder" if plan.left_out == 1 else "folders"
    parts = [f"{plan.left_out} {system} of thumbnails or trash passed over"] if plan.left_out else []
    earlier = "output" if plan.earlier == 1 else "outputs"
    return parts + ([f"{plan.earlier} {earlier} of earlier runs passed over"] if plan.earlier else [])


def _print_plan(plan: Plan, *, json: bool) -> None:
    from colorcli.colorize.plan import check_room

    if json:
        _emit_plan(plan)
    else:
        _show_plan(plan)
    try:
        warning = check_room(plan)
    except ColorcliError as error:
        warning = str(error)
    if warning:
        data.note(warning)


def _emit_plan(plan: Plan) -> None:
    for task in plan.tasks:
        for item in task.outputs:
            data.emit("plan.photo", input=task.found.relative, source=task.found.shown, output=plan.shown(item))
    for verdict in plan.verdicts:
        fields = {"input": verdict.relative, "output": verdict.output, "code": verdict.code}
        data.emit(f"plan.{verdict.status}", **fields, reason=verdict.reason)
    for collision in plan.collisions:
        data.emit("plan.collision", inputs=collision.inputs, outputs=collision.outputs)
    data.emit(
        "plan",
        pending=plan.pending,
        already_done=plan.already,
        not_made=len(plan.verdicts),
        estimated_seconds=round(plan.estimated_seconds()),
        estimated_bytes=plan.estimated_bytes,
        ignored=plan.ignored,
        left_out=plan.left_out,
        earlier_outputs=plan.earlier,
    )


def _show_plan(plan: Plan) -> None:
    from colorcli.text import human_bytes, printable

    for task in plan.tasks:
        for item in task.outputs:
            data.line(f"{printable(task.found.shown)} -> {printable(plan.shown(item))}")
    for verdict in plan.verdicts:
        data.line(f"{verdict.status} {printable(verdict.relative)}: {printable(verdict.reason)}")
    for collision in plan.collisions:
        names = printable(", ".join(collision.inputs))
        data.line(f"would share a name: {names}; named {printable(', '.join(collision.outputs))}")
    basis = "as fast as the last run" if plan.seconds_per_megapixel else "on an ordinary CPU"
    to_make = f"{plan.pending} to colour"
    if _unit(plan) == "colourings":
        to_make = f"{plan.pending} colourings to make of {len(plan.tasks)} photographs"
    data.note(
        f"{to_make} ({plan.megapixels:.1f} megapixels), {plan.already} done already, "
        f"{', '.join([f'{len(plan.verdicts)} not to be made', f'{plan.ignored} other files', *_passed_over(plan)])}; "
        f"about {duration(plan.estimated_seconds())} {basis}, about {human_bytes(plan.estimated_bytes)} of disk."
    )


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 600:
        return f"{int(seconds) // 60} min {int(seconds) % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"

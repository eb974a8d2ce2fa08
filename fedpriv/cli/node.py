"""``fedpriv node``: a hospital's side, what an admin types."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from fedpriv.cli.examples import example
from fedpriv.cli.health import Healthy, tell_health
from fedpriv.cli.json_output import echo_json
from fedpriv.cli.logged import LogJson, logged

app = typer.Typer(help="Take part as a hospital.", no_args_is_help=True)

Home = Annotated[Path, typer.Option("--home", help="The hospital's home folder.", show_default="here")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]

_PLAIN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


@app.command(
    epilog=example("fedpriv node init --name mayo --images /data/smears --coordinator fed.example.org:9092")
)
def init(
    name: Annotated[str, typer.Option(help="The hospital's name in the roster.")],
    images: Annotated[Path, typer.Option(help="The folder of images; it is only ever read.")],
    coordinator: Annotated[str, typer.Option(metavar="HOST:PORT", help="The coordinator's address.")],
    home: Home = Path(),
    dataset: Annotated[
        str | None,
        typer.Option(help="What to call these images in the budget.", show_default="the folder's name"),
    ] = None,
    hospital: Annotated[
        str | None, typer.Option(help="Use only the images that manifest.csv gives this hospital.")
    ] = None,
    split: Annotated[
        Literal["train", "test"] | None, typer.Option(help="Use only the images that manifest.csv has here.")
    ] = None,
    on_bad_image: Annotated[
        Literal["refuse", "skip"], typer.Option(help="What to do with an unusable image.")
    ] = "refuse",
    smallest_cohort: Annotated[int, typer.Option(help="Policy: never fewer hospitals in a sum.")] = 2,
    colluders: Annotated[
        int, typer.Option(min=0, help="Policy: so many colluding hospitals must be tolerated.")
    ] = 1,
    largest_epsilon: Annotated[
        float, typer.Option(help="Policy: the most epsilon these images may ever spend.")
    ] = 8.0,
    largest_delta: Annotated[float, typer.Option(help="Policy: the delta at which that is counted.")] = 1e-5,
) -> None:
    """Make a hospital's home folder, with your policy in node.toml.

    Keys that `fedpriv keys new` put there are kept; otherwise new ones are made, with their request.
    """
    from fedpriv.identity.enrolment import request_path
    from fedpriv.node.home import Config, Dataset, init_home
    from fedpriv.node.policy import Policy

    folder = images.resolve()
    if dataset is None and not re.fullmatch(_PLAIN_NAME, folder.name):
        raise typer.BadParameter(
            f"{folder.name!r} has other signs than A-Z a-z 0-9 . _ - in it: name the images",
            param_hint="--dataset",
        )
    made = init_home(
        home,
        Config(
            name=name,
            coordinator=coordinator,
            dataset=Dataset(
                name=dataset or folder.name,
                images=str(folder),
                hospital=hospital,
                split=split,
                on_bad_image=on_bad_image,
            ),
            policy=Policy(
                smallest_cohort=smallest_cohort,
                largest_epsilon=largest_epsilon,
                largest_delta=largest_delta,
                colluders=colluders,
            ),
        ),
    )
    typer.echo(f"{name} in {made.folder.resolve()}; its policy is in {made.folder / 'node.toml'}")
    if not made.roster_path.exists():
        typer.echo(f"next: send {request_path(name, home)} to the operator; pin the roster that comes back")


@app.command(epilog=example("fedpriv node approve study.toml --home hospital"))
def approve(
    study_file: Annotated[
        Path, typer.Argument(metavar="STUDY", help="The study file, as the operator sent it.")
    ],
    home: Home = Path(),
    again: Annotated[
        bool, typer.Option("--again", help="Grant its rounds, and their cost, once more.")
    ] = False,
) -> None:
    """Approve a study: all its rounds, once, within your policy."""
    from fedpriv.node.home import open_home
    from fedpriv.study import load_study

    node = open_home(home)
    load_study(study_file)  # a wrong one begins no journal
    with node.open_journal() as journal:
        study = node.approve(journal, study_file, again=again)
    privacy = study.privacy
    typer.echo(f"approved {study.study.name}, digest {study.digest.hex()}")
    typer.echo(
        f"it may cost {node.config.dataset.name} epsilon {privacy.epsilon:g} at delta {privacy.delta:g} per "
        f"{privacy.unit}, over {study.training.rounds} rounds"
    )


@app.command(epilog=example("fedpriv node start --home hospital"))
def start(home: Home = Path(), log_json: LogJson = False) -> None:
    """Take part in approved studies, until Ctrl-C.

    The coordinator is answered only within your policy and budget. One that is away is called again.
    """
    with logged(as_json=log_json) as log:
        from fedpriv.node.home import open_home
        from fedpriv.node.service import work

        node = open_home(home)
        log.hospital = node.config.name
        work(node, log)


@app.command(epilog=example("fedpriv node status --json"))
def status(home: Home = Path(), as_json: AsJson = False, healthy: Healthy = False) -> None:
    """Show whether the node runs, and what it has approved and done.

    --healthy asks the running node alone: exit code 0 if it is connected and can take part in a round.
    """
    if healthy:
        from fedpriv.node.state import pulse_path

        tell_health(pulse_path(home), "the node", as_json=as_json)
        return
    from fedpriv.node.events import Approve, Close, Refuse
    from fedpriv.node.home import open_home
    from fedpriv.node.journal import is_being_written
    from fedpriv.node.register import load_register

    node = open_home(home)
    rows = node.rows()
    running = is_being_written(node.folder)
    dataset = node.config.dataset.name
    bound = len(load_register(node.folder, rows).of(dataset).images)
    roster = node.roster().fingerprint if node.roster_path.exists() else None
    approvals = [row.event for row in rows if isinstance(row.event, Approve)]
    approved = {approval.study_digest.hex(): approval.study_name for approval in approvals}
    closed = sum(isinstance(row.event, Close) for row in rows)
    refused = [row.event.reason for row in rows if isinstance(row.event, Refuse)]
    if as_json:
        echo_json(
            {
                "name": node.config.name,
                "running": running,
                "coordinator": node.config.coordinator,
                "roster": roster,
                "dataset": dataset,
                "images_bound": bound,
                "approved": approved,
                "rounds_closed": closed,
                "refusals": len(refused),
                "last_refusal": refused[-1] if refused else None,
                "journal_rows": len(rows),
            }
        )
        return
    typer.echo(
        f"{node.config.name}  {'running' if running else 'not running'}, calls {node.config.coordinator}"
    )
    typer.echo(f"roster    {roster or 'none pinned yet: fedpriv keys roster FILE --pin'}")
    charged = f"charged for {bound} images" if bound else "never charged"
    typer.echo(f"dataset   {dataset}, {charged}")
    for digest, study_name in approved.items():
        typer.echo(f"approved  {study_name}  {digest[:16]}")
    typer.echo(f"journal   {len(rows)} rows, all verify; {closed} rounds closed, {len(refused)} refusals")
    if refused:
        typer.echo(f"refused   {refused[-1]}")


@app.command(epilog=example("fedpriv node doctor --home hospital"))
def doctor(home: Home = Path(), as_json: AsJson = False) -> None:
    """Look for whatever would keep this hospital from a round.

    Each line is ok, warn or fail, with what to do. Exit code 1 if one fails. Every image is decoded, and
    the coordinator is called for a TLS handshake alone; nothing is changed.
    """
    from fedpriv.errors import Refused
    from fedpriv.node.diagnosis import Health
    from fedpriv.node.doctor import examine

    found = []
    for diagnosis in examine(home):
        found.append(diagnosis)
        if not as_json:
            typer.echo(f"{diagnosis.health:<5} {diagnosis.subject:<12} {diagnosis.found}")
            if diagnosis.fix:
                typer.echo(f"{'':<5} {'':<12} -> {diagnosis.fix}")
    if as_json:
        echo_json(found)
    failed = [diagnosis.subject for diagnosis in found if diagnosis.health is Health.FAIL]
    if failed:
        raise Refused(f"{len(failed)} of {len(found)} checks fail: {', '.join(failed)}")


@app.command(epilog=example("fedpriv node budget --home hospital"))
def budget(
    home: Home = Path(),
    study: Annotated[
        Path | None,
        typer.Option(metavar="STUDY", help="Say how many rounds of this study fit, approved or not."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what the dataset has spent, and how many more rounds fit.

    The line about the patient with most images is for this hospital alone: it counts images. --json has
    the whole curve of epsilon and delta.
    """
    from fedpriv.cli.chart import bar, chart
    from fedpriv.dp.accounting import sampled_curve
    from fedpriv.node import budget as budgets
    from fedpriv.node.home import open_home
    from fedpriv.node.register import load_register
    from fedpriv.study import load_study

    node = open_home(home)
    rows, dataset, policy = node.rows(), node.config.dataset.name, node.config.policy
    spent = budgets.budget_of(rows, dataset, policy)
    course = budgets.course_of(rows, dataset, policy)
    register = load_register(node.folder, rows)
    bound, others = register.of(dataset), sorted(register.datasets.keys() - {dataset})
    most = bound.most_images_of_a_patient
    of_patient = budgets.epsilon_of_patient(rows, dataset, policy, most)
    charges = budgets.charges_of(rows, dataset)
    studies = node.approved_studies(rows)
    if study is not None:
        asked = load_study(study)
        studies += [] if asked in studies else [asked]
    table = [
        {
            "study": known.study.name,
            "digest": known.digest.hex(),
            "rounds_charged": sum(charge.study_digest == known.digest for charge in charges),
            "rounds_approved": budgets.approvals_of(rows, known.digest) * known.training.rounds,
            "rounds_that_fit": budgets.rounds_that_fit(rows, dataset, known, policy),
        }
        for known in studies
    ]
    if as_json:
        from dataclasses import asdict

        patient = None if of_patient is None else {"images": most, "epsilon": of_patient}
        curve = sampled_curve([charge.charge for charge in charges])
        echo_json(
            {
                **asdict(spent),
                "images_bound": len(bound.images),
                "other_datasets": others,
                "patient_with_most_images": patient,
                "studies": table,
                "course": [asdict(point) for point in course],
                "curve": curve,
            }
        )
        return
    limit = policy.largest_epsilon
    typer.echo(f"{dataset}  [{bar(spent.epsilon, limit)}]  epsilon {spent.epsilon:.4g} of {limit:g}")
    typer.echo(
        f"at delta {spent.delta:g} per {spent.unit or 'unit'}, composed over {spent.rounds} charged rounds"
    )
    if bound.images:
        typer.echo(f"bound to {len(bound.images)} images; those that are added share this budget")
    if others:
        typer.echo(f"charged under other names, whose images cannot be charged again: {', '.join(others)}")
    if of_patient is not None:
        typer.echo(
            f"for the patient with most images here, all {most} of them together: epsilon {of_patient:.4g} "
            "(not to be passed on)"
        )
    if course:
        typer.echo(f"epsilon over charged rounds (of {limit:g}):")
    for line in chart(course, limit):
        typer.echo(line)
    for entry in table:
        typer.echo(
            f"  {entry['study']}  {entry['rounds_charged']} of {entry['rounds_approved']} approved rounds "
            f"charged; {entry['rounds_that_fit']} more fit the budget"
        )


@app.command(epilog=example("fedpriv node export --home hospital --out mayo.journal.json"))
def export(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="The run's name.", show_default="the last one answered"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write.", show_default="NAME.journal.json, here")
    ] = None,
    home: Home = Path(),
) -> None:
    """Write what auditors of one run may see of the journal, signed.

    Open are the approvals and charges of its study, and what was sent in the run. Every other row, and every
    refusal, is a hash with a secret salt: it keeps the chain whole and tells nothing. Send the file to the
    operator, who adds it to the bundle.
    """
    from fedpriv.errors import HomeError
    from fedpriv.node.export import export_for, parse_export
    from fedpriv.node.home import open_home
    from fedpriv.toml_files import write_new_file

    node = open_home(home)
    content = export_for(node, None if run is None else _run_id(run))
    path = out or Path(f"{node.config.name}.journal.json")
    write_new_file(path, content.decode(), HomeError)
    export = parse_export(content, str(path))
    closed = export.closed
    typer.echo(
        f"{path}: {len(export.rows) - closed} rows of the run {export.run.hex()} and its study, "
        f"{closed} more as hashes"
    )
    typer.echo("next: send it to the operator, who runs `fedpriv coordinator bundle --journal FILE`")


def _run_id(name: str) -> bytes:
    """The 16 bytes at the end of a run's name."""
    digits = name.rstrip("/").rpartition("-")[2]
    if not re.fullmatch(r"[0-9a-f]{32}", digits):
        raise typer.BadParameter(f"{name!r} does not end in the 32 digits of a run", param_hint="RUN")
    return bytes.fromhex(digits)

"""What the crash tests run in processes of their own; imported by their fork server."""

import os
import sys

# Imported for the fork server: everything that a build needs, so that a fork need not.
import catalog.export
import catalog.query
import catalog.sweep
import stages.worker
from catalog.lake import Lake
from catalog.release import Release
from tests.fake_stages import fake_build

PRELOADED = (catalog.export, stages.worker)


def call(sender, name, arguments, environment):
    """Run a function of this module with an environment, and send what it returns."""
    os.environ.update(environment)
    try:
        sender.send(globals()[name](*arguments))
        sender.close()
    finally:
        sys.stdout.flush()


def build(lake, clips):
    """Build; (digest of the release, outcomes computed by stage)."""
    the_build = fake_build(lake, clips)
    release = the_build.all()
    return release.digest, the_build.tally.computed()


def build_beside(lake, clips, name, barrier):
    """Build at the same moment as another process; (digest of the release, its problems)."""
    the_build = fake_build(lake, clips, run=f"run-{os.getpid()}", name=name)
    barrier.wait(30)
    release = the_build.all()
    return release.digest, release.verify()


def build_and_tell(lake, clips):
    """Build, and tell how it ended."""
    try:
        return str(build(lake, clips))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def build_and_examine(lake, clips):
    """Build, and tell what is wrong with the lake: damage, rows twice over, files lost."""
    digest, _ = build(lake, clips)
    lake = Lake(lake)
    release = Release.open(lake, "release")
    twice = catalog.query.query(
        lake,
        "select count(*) n from (select 1 from outcomes_all "
        "group by clip, stage, fingerprint having count(*) > 1)",
    )["n"][0].as_py()
    swept = catalog.sweep.sweep(lake, grace=0)
    return {
        "digest": digest,
        "problems": release.verify(),
        "doubled": twice,
        # After the sweep everything that the outcomes name must still be there.
        "lost": sum(
            not lake.artifacts.verify(outcome.stage, artifact)
            for outcome in _outcomes(lake)
            for artifact in outcome.artifacts
        )
        + sum(each.kind == "release" and each.path == release.path for each in swept),
    }


def _outcomes(lake):
    from catalog.members import read_members, read_recipe

    clips = [member.clip for member in read_members(lake, "release")]
    fingerprints = read_recipe(lake, "release").fingerprints
    return [o for made in lake.outcomes.of(clips, fingerprints).values() for o in made.values()]

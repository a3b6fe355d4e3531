"""Runs the demo. Exit status with --once: 0 if all claims held (or cannot be shown here), 1 if one fell short."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from examples.demo import claims
from examples.demo.claims import Outcome, Rotation
from examples.demo.mesh import CommandFailed, Shop, copy_shop

CERTIFICATE_LIFE = "60s"
NEEDS_CAPTURE = "traffic is not captured in loopback mode: whoever skips the proxy is not stopped"

CLAIMS: tuple[tuple[str, Callable[[Shop], Outcome], str], ...] = (
    ("a VirtualService sends 90 % of the traffic for users to v1, 10 % to v2", claims.split, ""),
    ("weights flipped in the YAML file while traffic flows", claims.flips, ""),
    ("a 5 s delay for one header value, and only for it", claims.delay, ""),
    ("plaintext from outside stays outside; inside, the same request is encrypted", claims.encryption, NEEDS_CAPTURE),
    ("GET allowed, DELETE refused, the wrong service account refused", claims.policy, ""),
)
ROTATION = "certificates living 60 s are rotated at least twice under load"

started = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - started:6.1f} s] {text}", flush=True)


def show(number: int, title: str, outcome: Outcome) -> None:
    verdict = {True: "ok", False: "FELL SHORT", None: "not covered"}[outcome.held]
    say(f"{number}. {title}: {verdict}")
    for line in outcome.lines:
        print(f"            {line}", flush=True)


def run_claims(shop: Shop, loopback: bool) -> list[Outcome]:
    """All six, in order; one that cannot run has fallen short."""
    outcomes: list[Outcome] = []
    rotation = Rotation(shop)
    try:
        for number, (title, claim, needs) in enumerate(CLAIMS, start=1):
            rotation.look()
            if loopback and needs:
                outcome = Outcome(held=None, lines=(needs,))
            else:
                outcome = attempt(lambda claim=claim: claim(shop))  # type: ignore[misc]
            show(number, title, outcome)
            outcomes.append(outcome)
        outcome = attempt(lambda: rotation.judge(say))
        show(len(CLAIMS) + 1, ROTATION, outcome)
        outcomes.append(outcome)
    finally:
        rotation.close()
    return outcomes


def attempt(claim: Callable[[], Outcome]) -> Outcome:
    try:
        return claim()
    except (CommandFailed, RuntimeError, OSError, ValueError, KeyError, StopIteration) as error:
        return Outcome(held=False, lines=(f"{type(error).__name__}: {error}",))


TOUR = """
The shop keeps running. In another terminal ({checkout} is the checkout):
  edit                  {directory}/users-routing.yaml      (the weights; saved is applied)
  who answers           .venv/bin/heddle local exec deploy/visitor -n shop --mesh {name} -- \\
                            python3 app/load.py http://users:8080/ --requests 100
  pods and services     .venv/bin/heddle local status --mesh {name}
  who has what          .venv/bin/heddle status --mesh {name}
  one sidecar's routes  .venv/bin/heddle config route deploy/visitor -n shop --mesh {name}
  is the YAML right     .venv/bin/heddle analyze {directory}
Ctrl-C ends all of it.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the six claims (ONCE=1)")
    parser.add_argument("--isolation", default="auto", choices=("auto", "root", "user", "loopback"))
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))

    scratch = Path(tempfile.mkdtemp(prefix="heddle-demo-"))
    shop = Shop(name=f"demo-{scratch.name[-8:].lower().replace('_', '0')}", directory=copy_shop(scratch))
    outcomes: list[Outcome] = []
    try:
        say("starting the shop: frontend, users v1 and v2, payments, database, two clients; an Envoy beside each ...")
        shop.up(CERTIFICATE_LIFE, args.isolation)
        status = shop.status()
        sidecars = sum(bool(pod["sidecar"]) for pod in status["pods"])
        say(f"{len(status['pods'])} pods ready, {sidecars} sidecars, {len(status['services'])} services")
        outcomes = run_claims(shop, loopback=status.get("isolation") == "loopback")  # type: ignore[comparison-overlap]
        if not args.once:
            print(TOUR.format(checkout=Path.cwd(), directory=shop.directory, name=shop.name), flush=True)
            signal.pause()
    except CommandFailed as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("ending ...")
        if args.once:
            return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        shop.down()
        shutil.rmtree(scratch, ignore_errors=True)
        say("gone: no process, namespace, rule or file is left")
    short = sum(outcome.held is False for outcome in outcomes)
    if args.once:
        say("all claims held" if not short else f"{short} of {len(outcomes)} claims fell short")
    return 1 if short or len(outcomes) <= len(CLAIMS) else 0


if __name__ == "__main__":
    sys.exit(main())

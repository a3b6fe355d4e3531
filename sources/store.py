"""The one place that holds what is in force: files and observations in, an immutable mesh out.

One writer: all methods are called from one thread. Nothing is announced unless something differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

from model.gateways import Gateway
from model.mesh import Mesh
from model.pods import Pod, Workload
from model.policies import AuthorizationPolicy, PeerAuthentication
from model.problems import ObjectRef, Position, Problem
from model.routing import VirtualService
from model.services import Service
from model.settings import MeshSettings
from model.sidecars import Sidecar
from model.traffic import DestinationRule
from sources.assemble import Assembly, Inputs, Name, assemble
from sources.checks import check_mesh
from sources.cluster_objects import ConfigMap, EndpointSlice, Namespace, PodManifest, Secret, ServiceAccount
from sources.file_state import FileState, duplicate, next_state
from sources.keeping import keep_equal, same_objects
from sources.kinds import Object
from sources.manifests import Parsed, parse_documents
from sources.mesh_config import MESH_CONFIG, check_trust_domain
from sources.outcomes import with_outcome
from sources.rules import clash_problem

_NOTHING: Mapping[Name, object] = {}
"""One object, so that a kind that is not there does not look changed."""
_WORKLOADS = frozenset({"Deployment", "StatefulSet", "Pod"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProblemSearch:
    """What problems are worked out from; nothing in it changes. `known` are found already."""

    revision: int
    known: tuple[Problem, ...]
    mesh: Mesh
    objects: Mapping[ObjectRef, Object]
    now: datetime | None

    def run(self) -> tuple[Problem, ...]:
        """All problems, by file and line."""
        return tuple(sorted((*self.known, *check_mesh(self.mesh, self.objects, self.now)), key=_place))


class Store:
    """Files of manifests and what was observed, as one mesh.

    `mesh` and every value in it keep their identity as long as they are equal. `generation` counts the changes of
    anything that can be read here, problems excepted. `managed_slices`: see `service_endpoints.Surroundings`. `now`
    gives the time for problems that come with it; without it there are none of these. `mesh_config` is the ConfigMap
    of a cluster that the settings are from; without it they are a file's.
    """

    def __init__(
        self,
        *,
        managed_slices: bool = False,
        now: Callable[[], datetime] | None = None,
        mesh_config: ObjectRef | None = None,
    ) -> None:
        self._managed_slices = managed_slices
        self._now = now
        self._mesh_config = mesh_config
        self.generation = 0
        self.workloads: tuple[Workload, ...] = ()
        self._files: dict[str, FileState] = {}
        self._claims: dict[ObjectRef, set[str]] = {}
        self._objects: dict[ObjectRef, Object] = {}
        self._values: dict[str, Mapping[Name, object]] = {}
        self._observed: Mapping[Name, Pod] = {}
        self._pods_of: tuple[object, ...] = ()
        """What the mesh's pods were last put together from."""
        self._addresses: Mapping[Name, tuple[str, ...]] = {}
        self._assembly = Assembly()
        self._callbacks: list[Callable[[], None]] = []
        self._source_problems: tuple[Problem, ...] = ()
        self._problems: tuple[Problem, ...] | None = ()
        self._problems_revision = 0
        self._refused_outside: Callable[[], Iterable[Problem]] = tuple
        self._trust_domain = ""
        self._trust_domain_origin: Position | None = None

    # What is in force

    @property
    def mesh(self) -> Mesh:
        """The present snapshot."""
        return self._assembly.mesh

    @property
    def objects(self) -> Mapping[ObjectRef, Object]:
        """Every object in force, with its place."""
        return self._objects

    @property
    def refused(self) -> frozenset[ObjectRef]:
        """Objects that stand in a file in a version that was refused, whatever is in force of them."""
        return frozenset(ref for state in self._files.values() for ref in state.refused)

    @property
    def assembly(self) -> Assembly:
        """What the present snapshot was made of, and what another can take over from it. Nothing in it changes."""
        return self._assembly

    @property
    def files(self) -> tuple[str, ...]:
        """The files that are known, sorted."""
        return tuple(sorted(self._files))

    @property
    def namespaces(self) -> Mapping[Name, Namespace]:
        """By ('', name)."""
        return cast(Mapping[Name, Namespace], self._of("Namespace"))

    @property
    def service_accounts(self) -> Mapping[Name, ServiceAccount]:
        return cast(Mapping[Name, ServiceAccount], self._of("ServiceAccount"))

    @property
    def config_maps(self) -> Mapping[Name, Mapping[str, bytes]]:
        """The data of each ConfigMap."""
        found = cast(Mapping[Name, ConfigMap], self._of("ConfigMap"))
        return {name: value.data for name, value in found.items()}

    @property
    def secrets(self) -> Mapping[Name, Mapping[str, bytes]]:
        """The decoded data of each Secret."""
        found = cast(Mapping[Name, Secret], self._of("Secret"))
        return {name: value.data for name, value in found.items()}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All that is wrong at present, by file and line: what was read, and what sidecars refuse of it."""
        found, refused = self.problems_read, tuple(self._refused_outside())
        return tuple(sorted((*found, *refused), key=_place)) if refused else found

    @property
    def problems_read(self) -> tuple[Problem, ...]:
        """All that is wrong with what was read, by file and line. Worked out when asked for, after a change."""
        search = self.problem_search()
        if search is not None:
            self._problems = search.run()
        return self._problems or ()

    def problem_search(self) -> ProblemSearch | None:
        """What works out `problems_read`, None if they are known. It may run in another thread, whatever changes here
        meanwhile; `keep_problems` brings back what it found."""
        if self._problems is not None:
            return None
        found = [self._with_outcome(problem, state) for state in self._files.values() for problem in state.problems]
        found += self._duplicates()
        found += [self._placed(clash_problem(clash)) for clash in self._assembly.clashes]
        if self._trust_domain:
            config = self._objects.get(MESH_CONFIG)
            found += check_trust_domain(config, self._trust_domain, self._trust_domain_origin, self._mesh_config)
        return ProblemSearch(
            revision=self._problems_revision,
            known=(*self._source_problems, *found),
            mesh=self.mesh,
            objects=dict(self._objects),
            now=self._now() if self._now is not None else None,
        )

    def keep_problems(self, search: ProblemSearch, found: tuple[Problem, ...]) -> None:
        """Has `problems_read` answer with this, unless it is out of date by now."""
        if search.revision == self._problems_revision:
            self._problems = found

    def tell_refused(self, refused: Callable[[], Iterable[Problem]]) -> None:
        """`problems` has these too, asked for each time: what sidecars refuse although it was taken for good here."""
        self._refused_outside = refused

    def pin_trust_domain(self) -> None:
        """The mesh's trust domain stays what it is now, whatever the settings say later; a problem tells of it.

        Every certificate, root and expected peer is of it: to change it is to issue them all again, at one instant.
        """
        self._trust_domain = self.mesh.settings.trust_domain
        config = self._objects.get(MESH_CONFIG)
        self._trust_domain_origin = Position(file=config.position.file) if config is not None else None

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back after every change of `generation`; the answer ends that."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    # The writer's part

    def replace_file(self, file: str, text: bytes | None) -> bool:
        """The file now has this content; None: it is gone. Whether anything differs for a reader."""
        return self.replace_files({file: text})

    def replace_files(self, changes: Mapping[str, bytes | None]) -> bool:
        """Several files at once: an object that moves from one to another is never away in between."""
        return self.replace_parsed(
            {file: None if text is None else parse_documents(file, text) for file, text in changes.items()}
        )

    def replace_parsed(self, changes: Mapping[str, Parsed | None]) -> bool:
        """`replace_files` for a source that has parsed them already."""
        touched: set[ObjectRef] = set()
        states: dict[str, FileState | None] = {}
        for file, parsed in changes.items():
            before = self._files.get(file)
            if before is not None:
                touched.update(before.objects)
            state = None if parsed is None else next_state(parsed, before, self._objects)
            if state is not None:
                touched.update(state.objects)
            states[file] = state
        for file, state in states.items():
            self._put_file(file, state)
        self._forget_problems()
        return self._announce(self._settle(touched))

    def observe(self, pods: Iterable[Pod], service_addresses: Mapping[Name, tuple[str, ...]]) -> bool:
        """What runs at present, all of it: pods, and the virtual addresses of services. Whether anything differs."""
        listed = sorted(pods, key=lambda pod: (pod.ref.namespace, pod.ref.name))
        observed = keep_equal(self._observed, {(pod.ref.namespace, pod.ref.name): pod for pod in listed})
        addresses = keep_equal(self._addresses, {name: service_addresses[name] for name in sorted(service_addresses)})
        if observed is self._observed and addresses is self._addresses:
            return False
        self._observed, self._addresses = observed, addresses
        self._forget_problems()
        return self._announce(set())

    def report(self, problems: Iterable[Problem]) -> None:
        """What the source itself has to say (a directory that is gone, a file that cannot be read)."""
        found = tuple(problems)
        if found != self._source_problems:
            self._source_problems = found
            self._forget_problems()

    # Within

    def _forget_problems(self) -> None:
        self._problems = None
        self._problems_revision += 1

    def _of(self, kind: str) -> Mapping[Name, object]:
        return self._values.get(kind, _NOTHING)

    def _put_file(self, file: str, state: FileState | None) -> None:
        before = self._files.pop(file, None)
        for ref in before.objects if before is not None else ():
            self._claims[ref].discard(file)
        if state is not None:
            self._files[file] = state
            for ref in state.objects:
                self._claims.setdefault(ref, set()).add(file)

    def _settle(self, touched: set[ObjectRef]) -> set[str]:
        """Decides which file's object is in force for each of `touched`; the kinds of which a value changed."""
        fresh: dict[str, dict[Name, object]] = {}
        for ref in sorted(touched):
            claims = self._claims.get(ref)
            before = self._objects.get(ref)
            now = self._files[self._in_order(ref, claims)[0]].objects[ref] if claims else None
            if now is None:
                self._claims.pop(ref, None)
                self._objects.pop(ref, None)
            else:
                self._objects[ref] = now
            if (now.value if now else None) is not (before.value if before else None):
                values = fresh.setdefault(ref.kind, dict(self._of(ref.kind)))
                if now is None:
                    values.pop((ref.namespace, ref.name), None)
                else:
                    values[ref.namespace, ref.name] = now.value
        self._values.update(fresh)
        return set(fresh)

    def _announce(self, kinds: set[str]) -> bool:
        before = self._assembly.mesh
        self._assembly = assemble(self._inputs(kinds), self._assembly)
        if kinds & _WORKLOADS:
            self.workloads = self._sorted_workloads()
        if self._assembly.mesh is before and not kinds:
            return False
        self.generation += 1
        for callback in tuple(self._callbacks):
            callback()
        return True

    def _inputs(self, kinds: set[str]) -> Inputs:
        last = self._assembly.inputs
        return Inputs(
            settings=self._settings(),
            managed_slices=self._managed_slices,
            services=cast(Mapping[Name, Service], self._of("Service")),
            endpoint_slices=cast(Mapping[Name, EndpointSlice], self._of("EndpointSlice")),
            stateful_sets=cast(Mapping[Name, Workload], self._of("StatefulSet")),
            pods=self._pods(last.pods),
            service_addresses=self._addresses,
            virtual_services=cast(Mapping[Name, VirtualService], self._of("VirtualService")),
            destination_rules=cast(Mapping[Name, DestinationRule], self._of("DestinationRule")),
            peer_authentications=cast(Mapping[Name, PeerAuthentication], self._of("PeerAuthentication")),
            authorization_policies=cast(Mapping[Name, AuthorizationPolicy], self._of("AuthorizationPolicy")),
            gateways=cast(Mapping[Name, Gateway], self._of("Gateway")),
            secrets=cast(Mapping[Name, Secret], self._of("Secret")),
            sidecars=cast(Mapping[Name, Sidecar], self._of("Sidecar")),
        )

    def _settings(self) -> MeshSettings:
        found = self._of("ConfigMap").get((MESH_CONFIG.namespace, MESH_CONFIG.name))
        settings = found.settings if isinstance(found, ConfigMap) else None
        settings = settings or MeshSettings()
        return replace(settings, trust_domain=self._trust_domain) if self._trust_domain else settings

    def _pods(self, last: Mapping[Name, Pod]) -> Mapping[Name, Pod]:
        manifests = cast(Mapping[Name, PodManifest], self._of("Pod"))
        if same_objects(self._pods_of, (manifests, self._observed)):
            return last
        self._pods_of = (manifests, self._observed)
        written = {name: manifest.pod for name, manifest in manifests.items() if manifest.pod is not None}
        return keep_equal(last, {**written, **self._observed})

    def _sorted_workloads(self) -> tuple[Workload, ...]:
        found = [value for kind in ("Deployment", "StatefulSet") for value in self._of(kind).values()]
        found += [manifest.workload for manifest in cast(Mapping[Name, PodManifest], self._of("Pod")).values()]
        return tuple(sorted(cast(list[Workload], found), key=lambda workload: workload.ref))

    def _duplicates(self) -> list[Problem]:
        found = []
        for ref, files in self._claims.items():
            if len(files) > 1:
                first, *others = self._in_order(ref, files)
                winner = self._files[first].objects[ref]
                claims = ((file, self._files[file].objects[ref]) for file in others)
                # The last good of a rejected object may come from another file; that is no second object.
                found += [duplicate(other, winner) for file, other in claims if other.position.file == file]
        return found

    def _in_order(self, ref: ObjectRef, files: Iterable[str]) -> list[str]:
        """The files that hold an object, the one in force first: a stand-in gives way to every good version."""
        return sorted(files, key=lambda file: (self._files[file].objects[ref].stand_in, file))

    def _with_outcome(self, problem: Problem, state: FileState) -> Problem:
        if problem.object is None or problem.object not in state.refused:
            return problem
        return with_outcome(problem, self._objects.get(problem.object), self.mesh.settings.root_namespace)

    def _placed(self, problem: Problem) -> Problem:
        owner = self._objects.get(problem.object) if problem.object is not None else None
        return replace(problem, position=owner.where(problem.field)) if owner is not None else problem


def _place(problem: Problem) -> tuple[str, int, str, str]:
    position = problem.position
    return (position.file if position else "", position.line if position else 0, problem.field, problem.code)

"""Figures of the STM part, as Markdown: ``python benchmarks/stm.py FIGURE [--data FOLDER]``.

Figures: assess (1), silicon (2), tile (3), groups (4), surfaces (5), molecules (6), watch (7), all.
Seeds are from 2**33 on, which training never uses. Real images are those of the folder of
``--data`` (default: the environment variable ATOMLENS_DATA); figures that need them are left
out without it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from report import Report, figure
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

SEED = 2**33
#: Labels of the tile in our words.
KIND_OF = {
    "DB": "dangling bond", "dot": "adatom", "dihydride": "dihydride", "single_dihydride": "dihydride",
    "raised_silicon": "raised silicon", "missing_dimer": "missing dimer", "unknown": "anomaly",
    "etch_pit": "etch pit", "As2": "dopant", "1by1": "1x1", "gunk": "contaminant", "3by1": "3x1",
}  # fmt: skip


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the curve: chance that a positive stands above a negative."""
    both = np.r_[positive, negative]
    rank = pd.Series(both).rank().to_numpy()
    n = len(positive)
    return float((rank[:n].sum() - n * (n + 1) / 2) / (n * len(negative)))


def assess_figure(data: Path | None, small: bool) -> None:
    from napari_atomlens.simulation.scans import faulty_scan
    from napari_atomlens.stm.assessment import FAULTS, assess

    n = 10 if small else 200
    found = {}
    for k, fault in enumerate(("good", *FAULTS)):
        found[fault] = [assess(faulty_scan(SEED + 10_000 * k + i, fault).image) for i in range(n)]
    print("## 1. Assessment of simulated scans\n")
    print(f"{n} scans of each kind, ten kinds of surfaces, 256 px.\n")
    print("| fault | AUROC against good | precision | recall |\n|---|---|---|---|")
    for fault in FAULTS:
        area = auroc(
            np.array([v.faults[fault] for v in found[fault]]),
            np.array([v.faults[fault] for v in found["good"]]),
        )
        labels = {k: np.array([v.label for v in vs]) == fault for k, vs in found.items()}
        claimed = sum(int(v.sum()) for v in labels.values())
        precision = labels[fault].sum() / max(1, claimed)
        print(f"| {fault} | {area:.4f} | {precision:.3f} | {labels[fault].mean():.3f} |")
    good = {k: np.array([v.label == "good" for v in vs]) for k, vs in found.items()}
    share = good["good"].sum() / max(1, sum(int(v.sum()) for v in good.values()))
    print(f"| good | | {share:.3f} | {good['good'].mean():.3f} |\n")
    if data is None:
        return
    from napari_atomlens.io import read

    print(
        "Real files (first image of each):\n\n| file | label | score | usable | reason |\n|---|---|---|---|---|"
    )
    files = [*sorted((data / "stm-h-si").glob("*.[nj]p*")), *sorted((data / "stm-other").glob("*")),
             *sorted((data / "stm-movie").glob("*"))]  # fmt: skip
    for path in files:
        if path.suffix == ".json":
            continue
        try:
            v = assess(read(path)[0])
        except Exception as error:  # a table of all files must not end at one
            print(f"| {path.name} | refused | | | {error} |")
            continue
        print(
            f"| {path.name} | {v.label} | {v.score:.2f} | {100 * v.usable_mask.mean():.0f} % | {v.reasons[0]} |"
        )
    print()


def silicon_figure(data: Path | None, small: bool) -> None:
    from napari_atomlens.simulation.scoring import match
    from napari_atomlens.simulation.silicon import SiliconParams, simulate_silicon
    from napari_atomlens.stm.silicon import analyze_silicon

    print("## 2. Simulated H-Si(100): two steps, contaminants, 1/f noise\n")
    print("| scan | dimer F1 | false of found in contaminants | defect F1 | kind right | edges covered |"
          " median off (nm) | s |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    rows = []
    for k in range(2 if small else 12):
        pixel = 0.08
        scan = simulate_silicon(
            SiliconParams(size_px=512, pixel_size_nm=pixel, steps=2, contaminants=4, tilt=0.02,
                          row_angle_rad=0.35 + 0.5 * k, noise_nm=0.006, pink_nm=0.008,
                          split_nm=0.25 * (k % 2), seed=SEED + k)
        )  # fmt: skip
        start = time.perf_counter()
        r = analyze_silicon(scan.image, pixel)
        seconds = time.perf_counter() - start
        true = scan.dimers.loc[scan.dimers["visible"], ["y_px", "x_px"]].to_numpy()
        found = r.atoms[["y_px", "x_px"]].to_numpy()
        edge = cKDTree(np.concatenate(scan.steps))

        def inner(p, edge=edge, pixel=pixel):
            return (edge.query(p)[0] * pixel > 0.4) & ((p > 4) & (p < 507)).all(1)

        a, b = match(found, true, 0.15 / pixel)
        hit_f, hit_t = np.zeros(len(found), bool), np.zeros(len(true), bool)
        hit_f[a], hit_t[b] = True, True
        p, q = hit_f[inner(found)].mean(), hit_t[inner(true)].mean()
        at = np.rint(found).astype(int)
        masked = scan.contaminated[at[:, 0], at[:, 1]].mean()
        defects = r.defects[~r.defects["kind"].isin(["step edge"])]
        td = scan.defects[["y_px", "x_px"]].to_numpy()
        i, j = match(defects[["y_px", "x_px"]].to_numpy(), td, 8)
        kind = (defects["kind"].to_numpy()[i] == scan.defects["kind"].to_numpy()[j]).mean()
        line = np.concatenate(r.terraces.lines) if r.terraces.lines else np.zeros((1, 2))
        truth = np.concatenate(scan.steps)
        clear = ~scan.contaminated[tuple(np.rint(truth).astype(int).T)]
        off = cKDTree(line).query(truth)[0] * pixel
        rows.append((2 * p * q / (p + q), masked, 2 * len(i) / (len(defects) + len(td)), kind,
                     (off < 0.5).mean(), np.median(off), seconds, (off[clear] < 0.5).mean()))  # fmt: skip
        v = rows[-1]
        print(
            f"| {k} | {v[0]:.4f} | {v[1]:.4f} | {v[2]:.3f} | {v[3]:.3f} | {v[4]:.3f} | {v[5]:.3f} | {v[6]:.2f} |"
        )
    m = np.mean(rows, axis=0)
    print(
        f"| mean | {m[0]:.4f} | {m[1]:.4f} | {m[2]:.3f} | {m[3]:.3f} | {m[4]:.3f} | {m[5]:.3f} | {m[6]:.2f} |"
    )
    print(f"\nOf the length of edges that no contaminant covers: {m[7]:.3f}.\n")


def _tile(data: Path) -> tuple[np.ndarray, pd.DataFrame]:
    from napari_atomlens.io import read

    folder = data / "stm-h-si"
    image = np.asarray(read(folder / "tile_scan_082_fwd.jpg")[0].data, float)
    shapes = json.loads((folder / "tile_scan_082_fwd.json").read_text())["shapes"]
    rows = []
    for s in shapes:
        p = np.array(s["points"], float)
        x, y = (p.min(0) + p.max(0)) / 2
        hx, hy = np.ptp(p, axis=0) / 2
        rows.append((y, x, hy, hx, s["label"], KIND_OF[s["label"]]))
    names = ["y_px", "x_px", "half_y_px", "half_x_px", "label", "kind"]
    return image, pd.DataFrame(rows, columns=names)


def pair_boxes(found: np.ndarray, truth: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """One to one: centres within 8 px, or half of the box where the box is larger."""
    reach = np.maximum(8.0, truth[["half_y_px", "half_x_px"]].to_numpy().max(1))
    true = truth[["y_px", "x_px"]].to_numpy()
    d = np.hypot(found[:, None, 0] - true[None, :, 0], found[:, None, 1] - true[None, :, 1]) / reach
    cost = np.where(d <= 1, d, 1e3)
    i, j = linear_sum_assignment(cost)
    good = cost[i, j] <= 1
    return i[good], j[good]


def tile_figure(data: Path | None, small: bool) -> None:
    if data is None:
        print("## 3. needs --data\n")
        return
    from napari_atomlens.segmentation.predict import predict_classes
    from napari_atomlens.stm.silicon import analyze_silicon, find_surface_defects
    from napari_atomlens.stm.site_kinds import ROW_NM
    from napari_atomlens.training.params import SiliconAdaptParams
    from napari_atomlens.training.silicon import adapt_silicon

    image, truth = _tile(data)
    pixel = 0.088
    r = analyze_silicon(image, pixel)
    found = r.defects[r.defects["kind"] != "step edge"]
    at = found[["y_px", "x_px"]].to_numpy()
    i, j = pair_boxes(at, truth)
    p, q = len(i) / len(at), len(j) / len(truth)
    print("## 3. Real H-Si(100), labelled tile\n")
    figure("F1 of defects, one call", 2 * p * q / (p + q), section="labelled tile")
    print(f"Bundled model (simulation only), one call: precision {p:.3f}, recall {q:.3f}, "
          f"**F1 {2 * p * q / (p + q):.3f}** ({len(at)} found, {len(truth)} labels).\n")  # fmt: skip
    print(
        "| label | our kind | labels | found | named so | precision of the name |\n|---|---|---|---|---|---|"
    )
    named = found["kind"].to_numpy()
    for label, group in truth.groupby("label"):
        if len(group) < 20:
            continue
        here = np.isin(j, group.index)
        kind = KIND_OF[str(label)]
        right = (named[i[here]] == kind).sum()
        said = (named[i] == kind).sum()
        ours = truth["kind"].to_numpy()[j][named[i] == kind] == kind
        print(f"| {label} | {kind} | {len(group)} | {here.sum() / len(group):.2f} | "
              f"{right / max(1, here.sum()):.2f} | {ours.mean() if said else float('nan'):.2f} |")  # fmt: skip
    z = np.asarray(r.terraces.flat)
    print(
        "\nAdapted on one half, measured on the other:\n\n| half measured | before | after |\n|---|---|---|"
    )
    folder = Path(tempfile.mkdtemp())
    for side in (0, 1):
        half = np.zeros(z.shape, bool)
        half[:, : z.shape[1] // 2] = True
        half = half if side else ~half
        known = truth[
            half[truth["y_px"].astype(int).clip(0, 1023), truth["x_px"].astype(int).clip(0, 1023)]
        ]
        model = adapt_silicon(
            z, known, ROW_NM / pixel, folder / f"adapted{side}.safetensors",
            SiliconAdaptParams(steps=10 if small else 250), labelled=half,
        )  # fmt: skip
        scores = []
        for name in ("h-si-100", str(model)):
            d = find_surface_defects(predict_classes(z, name, ROW_NM / pixel))
            spot = d[["y_px", "x_px"]].to_numpy()
            inside = ~half[tuple(np.clip(np.rint(spot).astype(int), 0, 1023).T)]
            rest = truth.drop(known.index).reset_index(drop=True)
            a, _ = pair_boxes(spot[inside], rest)
            scores.append(2 * len(a) / (inside.sum() + len(rest)))
        print(f"| {'right' if side else 'left'} | {scores[0]:.3f} | {scores[1]:.3f} |")
    shutil.rmtree(folder)
    print()
    for path in sorted((data / "stm-h-si").glob("*.npy")):
        s = analyze_silicon(np.load(path))
        kinds = s.defects["kind"].value_counts().to_dict()
        steps = s.terraces.edges["height"].round(4).tolist()[:1]
        print(f"- {path.name}: {len(s.terraces.table)} terraces, step {steps} nm, rows "
              f"{s.row_px:.2f} px, {len(s.atoms)} dimers, {len(s.rows)} row lines; {kinds}; "
              f"{' '.join(s.messages)}")  # fmt: skip
    print()


def groups_figure(data: Path | None, small: bool) -> None:
    from sklearn.decomposition import PCA

    from napari_atomlens.segmentation.predict import predict_classes
    from napari_atomlens.simulation import silicon as sim
    from napari_atomlens.simulation.scoring import match
    from napari_atomlens.stm.groups import GroupParams, mean_shift, patches, ring_features
    from napari_atomlens.stm.silicon import find_surface_defects
    from napari_atomlens.stm.site_kinds import ROW_NM

    six = ("dangling bond", "missing dimer", "dihydride", "raised silicon", "etch pit", "3x1")
    usual = dict(sim.FREQUENCY)
    sim.FREQUENCY.update({k: (1 / 6 if k in six else 0.0) for k in usual})
    ring, raw, truth = [], [], []
    try:
        for k in range(2 if small else 8):
            scan = sim.simulate_silicon(
                sim.SiliconParams(size_px=512, pixel_size_nm=0.09, row_angle_rad=0.3 + 0.4 * k,
                                  charged=True, seed=SEED + 100 + k)
            )  # fmt: skip
            z = scan.image - np.median(scan.image, 1, keepdims=True)
            said = predict_classes(z, "h-si-100", ROW_NM / 0.09)
            found = find_surface_defects(said)
            i, j = match(
                found[["y_px", "x_px"]].to_numpy(), scan.defects[["y_px", "x_px"]].to_numpy(), 6
            )
            ring.append(ring_features(said, found.iloc[i]))
            raw.append(patches(z, found.iloc[i], 13).reshape(len(i), -1))
            truth += list(scan.defects["kind"].to_numpy()[j])
    finally:
        sim.FREQUENCY.update(usual)
    kinds = np.array(truth)

    def quality(x: np.ndarray) -> str:
        label, _ = mean_shift(x, GroupParams())
        members = [
            np.unique(kinds[label == g], return_counts=True)[1].max()
            for g in range(label.max() + 1)
        ]
        count = np.bincount(label[label >= 0])
        return f"{sum(members) / len(label):.3f} | {(count >= 0.01 * len(label)).sum()}"

    print("## 4. Mean-shift classes of six simulated kinds\n")
    print(f"{len(kinds)} defects. Defects in no class count as impure.\n")
    print("| features | purity | classes with >= 1 % |\n|---|---|---|")
    print(f"| network outputs in rings | {quality(np.vstack(ring))} |")
    pixels = np.vstack(raw)
    print(f"| raw pixels | {quality(pixels)} |")
    print(f"| 20 principal components of raw pixels | {quality(PCA(20).fit_transform(pixels))} |\n")


def surfaces_figure(data: Path | None, small: bool) -> None:
    if data is None:
        print("## 5. needs --data\n")
        return
    from napari_atomlens.io import read
    from napari_atomlens.runs.analysis import analyze
    from napari_atomlens.simulation.scoring import match
    from napari_atomlens.stm.levelling import level
    from napari_atomlens.stm.reconstruction import fit_seven_by_seven
    from napari_atomlens.stm.terraces import find_terraces

    print("## 5. Other surfaces, universal model\n")
    image = read(data / "stm-other" / "si111-7x7.sxm")[0]
    pixel = image.pixel_size_nm[0]
    terraces = find_terraces(image.data, pixel_size_nm=pixel, smooth_px=1.0 / pixel)
    atoms = analyze(np.asarray(image.data), keep_maps=False).atoms[["y_px", "x_px"]].to_numpy()
    print(f"Si(111)-7x7: {len(terraces.table)} terraces; {len(atoms)} adatoms found.\n")
    print("| terrace | cell (nm) | adatoms of whole cells | F1 |\n|---|---|---|---|")
    vectors = None
    for k in terraces.table.sort_values("area_px2", ascending=False)["terrace"]:
        fit = fit_seven_by_seven(terraces.flat, pixel, terraces.labels == k, vectors)
        vectors = fit.vectors
        of = terraces.labels[tuple(np.clip(np.rint(atoms).astype(int), 0, 255).T)] == k
        mine = atoms[of & fit.inside(atoms)]
        a, _ = match(mine, fit.places, 0.25 / pixel)
        print(
            f"| {k} | {fit.cell_nm:.3f} | {len(fit.places)} | {2 * len(a) / (len(mine) + len(fit.places)):.4f} |"
        )
    stack = np.load(data / "stm-movie" / "building_stack_8nm.npz")["frames"]
    counts = [len(analyze(level(f), keep_maps=False).atoms) for f in stack]
    print(f"\nCorral, atoms in each frame (13 by eye): {counts}\n")


def molecules_figure(data: Path | None, small: bool) -> None:
    from scipy.stats import binomtest

    from napari_atomlens.simulation.molecules import simulate_film, simulate_flips
    from napari_atomlens.simulation.scoring import match
    from napari_atomlens.stm.molecules import (
        film_neighbours,
        follow_film,
        read_film,
        ups_round_downs,
    )

    print("## 6. Buckybowls, 1,000 molecules, SNR 3\n")
    print("| film | found | up/down | bare | rotation | bare | p (rotation) | ups round a down: true | found |"
          "\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    better = worse = 0
    up_better = up_worse = 0
    for name, order, seed in [
        *((f"ordered {k}", 0.8, k) for k in range(1 if small else 5)),
        ("shuffled", 0.0, 9),
    ]:
        image, truth = simulate_film(1000, order=order, seed=SEED + seed)
        film = read_film(image)
        m = film.molecules
        place = truth[["y_px", "x_px"]].to_numpy()
        a, b = match(m[["y_px", "x_px"]].to_numpy(), place, 6)
        up, turn = truth["up"].to_numpy()[b], truth["rotation"].to_numpy()[b]
        rows = m.iloc[a]
        right, bare = rows["rotation"].to_numpy() == turn, rows["bare_rotation"].to_numpy() == turn
        won, lost = int((right & ~bare).sum()), int((~right & bare).sum())
        better, worse = better + won, worse + lost
        ups, bare_ups = rows["up"].to_numpy() == up, (rows["bare_up_p"].to_numpy() > 0.5) == up
        up_better, up_worse = (
            up_better + int((ups & ~bare_ups).sum()),
            up_worse + int((~ups & bare_ups).sum()),
        )
        pairs = film_neighbours(place, 20.0)
        count = np.bincount(pairs.ravel(), minlength=len(truth))
        both = np.r_[pairs, pairs[:, ::-1]]
        which = ~truth["up"].to_numpy()[both[:, 0]] & (count[both[:, 0]] == 6)
        # of the same molecules: those whose surroundings are whole in the image
        which &= np.isin(both[:, 0], b)
        planted = 6 * truth["up"].to_numpy()[both[which, 1]].mean()
        whole = ((place > 10) & (place < image.shape[0] - 11)).all(1).sum()
        print(f"| {name} | {len(a)}/{whole} | {ups.mean():.4f} | {bare_ups.mean():.4f} | "
              f"{right.mean():.4f} | {bare.mean():.4f} | {binomtest(won, max(1, won + lost)).pvalue:.1e} | "
              f"{planted:.2f} | {ups_round_downs(film):.2f} |")  # fmt: skip
    print(f"\nField against bare classifier, pooled (McNemar, exact): rotation {better} better, {worse} worse, "
          f"p = {binomtest(better, max(1, better + worse)).pvalue:.1e}; up/down {up_better} better, "
          f"{up_worse} worse, p = {binomtest(up_better, max(1, up_better + up_worse)).pvalue:.1e}.\n")  # fmt: skip
    hit = wanted = wrong = quiet = 0
    for k in range(1 if small else 3):
        movie, up, truth = simulate_flips(50, 300, rate=0.02, seed=SEED + 20 + k)
        place = truth[["y_px", "x_px"]].to_numpy()
        inner = ((place > 10) & (place < movie.shape[1] - 11)).all(1)
        _, flips, _, _ = follow_film(movie, place[inner])
        true = up[1:, inner] != up[:-1, inner]
        hit, wanted = hit + (flips & true).sum(), wanted + true.sum()
        wrong, quiet = wrong + (flips & ~true).sum(), quiet + (~true).sum()
    figure("recall of flips", hit / wanted, section="buckybowls")
    figure("false flips", 100 * wrong / quiet, "%", section="buckybowls")
    print(f"Flips, 2 % per frame over 50 frames: recall {hit / wanted:.4f} of {wanted}, "
          f"false {100 * wrong / quiet:.3f} %.\n")  # fmt: skip


def watch_figure(data: Path | None, small: bool) -> None:
    from napari_atomlens.runs.ledger import Ledger
    from napari_atomlens.runs.shelf import LEDGER
    from napari_atomlens.simulation.silicon import SiliconParams, simulate_silicon

    n = 12 if small else 200
    rng = random.Random(0)
    root = Path(tempfile.mkdtemp(prefix="atomlens-watch-"))
    folder, store = root / "in", root / "store"
    folder.mkdir()
    store.mkdir()
    source = {}
    for k in range(n):
        scan = simulate_silicon(SiliconParams(size_px=512, pixel_size_nm=0.08, steps=k % 2, contaminants=k % 3,
                                              row_angle_rad=0.3 + 0.1 * k, seed=SEED + 500 + k))  # fmt: skip
        np.save(store / f"scan{k:03d}.npy", scan.image.astype(np.float32))
    sound, corrupt = [], []
    command = [
        sys.executable,
        "-m",
        "napari_atomlens.cli",
        "watch",
        str(folder),
        "--pixel-size",
        "0.08",
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    log = (root / "events.jsonl").open("ab")

    def start() -> subprocess.Popen:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.DEVNULL, env=environment)

    process, kills = start(), {n // 3, 2 * n // 3}
    late: list[tuple[float, Path, bytes]] = []
    for k in range(n):
        name = f"scan{k:03d}.npy"
        content = (store / name).read_bytes()
        target = folder / name
        if k % 10 == 3:  # corrupt for ever
            target.write_bytes(content[: len(content) // 3])
            corrupt.append(name)
        elif k % 10 == 7:  # half-written, the rest comes later
            target.write_bytes(content[: len(content) // 2])
            late.append((time.time() + rng.uniform(0.5, 3), target, content))
            sound.append(name)
        else:
            target.write_bytes(content)
            sound.append(name)
        if k in kills:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = start()
        time.sleep(rng.uniform(0.2, 3.4))
        for item in [v for v in late if v[0] < time.time()]:
            item[1].write_bytes(item[2])
            late.remove(item)
    for _, target, content in late:
        target.write_bytes(content)
    (folder / "atomlens_results").mkdir(exist_ok=True)  # on a busy machine nothing is there yet
    ledger = Ledger(folder / "atomlens_results" / LEDGER)
    done: set[str] = set()
    end = time.time() + 90  # after the last one that was finished
    while time.time() < end:
        before, done = (
            done,
            {Path(r["key"]).name for r in ledger.rows() if r["status"] == "analysed"},
        )
        if done >= set(sound):
            break
        end = time.time() + 90 if done != before else end
        time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    log.close()
    events = []
    for line in (root / "events.jsonl").read_text().splitlines():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:  # the line at which the process was killed
            continue
    analysed = pd.Series([e["name"] for e in events if e["event"] == "analysed"]).value_counts()
    results = {p.parent.name for p in (folder / "atomlens_results").glob("*/run.json")}
    print("## 7. Watch folder\n")
    figure("sound files analysed", len(done & set(sound)), target=str(len(sound)), section="watch")
    figure(
        "events of one file more than once", int((analysed > 1).sum()), target="0", section="watch"
    )
    print(f"{n} files of 512x512, {len(corrupt)} corrupt, {n // 10} half-written at first, killed twice. "
          f"Analysed: {len(done & set(sound))} of {len(sound)} sound files; results on disk {len(results)}; "
          f"events of one file more than once: {(analysed > 1).sum()}; corrupt ones analysed: "
          f"{len(results & set(corrupt))}.\n")  # fmt: skip
    table = pd.DataFrame([e["seconds"] for e in events if e["event"] == "analysed"])
    print("| stage | median (s) | 95 % |\n|---|---|---|")
    for column in table:
        print(f"| {column} | {table[column].median():.3f} | {table[column].quantile(0.95):.3f} |")
    print()
    del source
    shutil.rmtree(root)


FIGURES = {
    "assess": assess_figure, "silicon": silicon_figure, "tile": tile_figure, "groups": groups_figure,
    "surfaces": surfaces_figure, "molecules": molecules_figure, "watch": watch_figure,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figure", choices=[*FIGURES, "all"])
    parser.add_argument("--data", default=os.environ.get("ATOMLENS_DATA"))
    parser.add_argument("--small", action="store_true", help="a quick version of it")
    with Report("stm", parser) as report:
        given = report.args
        data = Path(given.data) if given.data else None
        for name, figure in FIGURES.items():
            if given.figure in (name, "all"):
                figure(data, given.small)


if __name__ == "__main__":
    main()

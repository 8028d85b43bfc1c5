"""What validation values say is wrong, and what to do about it.

The most frequent trouble of trained talking heads is a face that hardly moves: the mean motion is
a cheap answer to a squared error.
"""

from codetalker_cli.train.task import Values

STILL = 0.3
"""Motion energy of the lips, in parts of the true one, below which a face hardly moves."""
GAP = 3.0
"""Times the free-running error may exceed the teacher-forced one."""
DEAD = 0.5
"""Share of the codebook that may go unused."""


def alarms(values: Values) -> dict[str, str]:
    """Kind → one line, of what is wrong."""
    found: dict[str, str] = {}
    stage2 = "val_lve_forced" in values
    section = "train_speech" if stage2 else "train_vq"
    energy = values.get("val_motion_energy", 1.0)
    if energy < STILL:
        found["still"] = (
            f"the face hardly moves: its lips have {energy:.0%} of the true motion's energy; "
            f"train longer, weigh lips and motion more (--set {section}.region_weights="
            f"'{{\"lips\": 10}}', {section}.motion_weight), or look at the data with `codetalker "
            "prepare-data check`"
        )
    if values.get("val_lve", 0.0) >= values.get("val_lve_mean", float("inf")):
        found["deaf"] = (
            f"the lips err by {values['val_lve']:.3g}, no less than the mean motion of the "
            f"training clips ({values['val_lve_mean']:.3g}): nothing was learnt yet"
        )
    if stage2 and values["val_lve"] > GAP * values["val_lve_forced"]:
        found["gap"] = (
            f"running freely the lips err {values['val_lve'] / values['val_lve_forced']:.1f} times "
            "as much as with the true past: let it train on its own (--set "
            "train_speech.own_history=0.5, train_speech.history_noise=0.3)"
        )
    n_codes = values.get("codes_used", 0.0) + values.get("dead_codes", 0.0)
    if n_codes and values["dead_codes"] > DEAD * n_codes:
        found["dead"] = (
            f"{values['dead_codes']:.0f} of {n_codes:.0f} codebook entries were never chosen in "
            "this epoch; --set train_vq.revive_after_steps=30 gives them new work"
        )
    return found

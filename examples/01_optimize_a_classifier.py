"""Train a network, find its fastest build that keeps its accuracy, and run that build."""

from pathlib import Path

import numpy as np
from digits import save_data, trained

from compress import load_bundle, optimize

training, evaluation = save_data(Path.cwd())
network = trained(training)

# A live module is taken as it is, and not modified; a file works the same way.
result = optimize(network, data=evaluation, target="cpu", max_drop=1.0, seconds=0.2, time_budget=20)

print(result.choice.reason)
for candidate in result.candidates:
    print(f"{candidate.recipe.name:20} {result.choice.verdicts[candidate.recipe.name]}")

# The build needs neither torch nor the network's source.
images = np.load(evaluation)["x"][:5]
(logits,) = load_bundle("build").run(images)
print("digits:", logits.argmax(axis=1))

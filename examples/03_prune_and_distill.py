"""Remove a third of a network's channels, train what is left to do what the original does, and compare."""

from pathlib import Path

from digits import save_data, save_network, trained

from compress import prune

training, evaluation = save_data(Path.cwd())
model = save_network(trained(training), Path("digits.pt2"))

# `train_data` makes prune train after it has cut; the original network is the teacher, so labels are not needed.
result = prune(model, data=evaluation, train_data=training, ratio=0.3, epochs=3, out="pruned.pt2")
print(result.path)

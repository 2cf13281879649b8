// Package train is the training step: masked loss over whole batches, AdamW,
// gradient accumulation, dropout that is a function of seed, step and example,
// and checkpoints that resume bit for bit. It loads no data and keeps no epochs.
// Start reading at Trainer.Step.
package train

// Package bench measures what the parts of distilvit cost on this machine: training steps, captions, the
// preparing of pictures, how memory and time grow with a dataset, and what a whole pipeline costs beside its
// training steps. It measures and returns numbers; the commands distilvit bench ... have the flags, host the
// stack that a measured run needs, and print. Start reading at Rounds.Measure.
package bench

// Package chaos trains one small captioner while everything around it breaks:
// processes are killed, servers go away, memory and disks run out, bytes rot.
// The run has to end by itself with exactly what an undisturbed run ends with.
// It is black-box: the built program (DISTILVIT_BIN, else it is built once),
// Temporal's development server and an S3 server, each a process of its own.
// Start reading at chaos_test.go, then faults_test.go; docs/chaos.md says what
// came out.
package chaos

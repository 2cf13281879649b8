// Package e2e holds black-box tests: they run the built program as a person or a
// supervisor would, with real servers around it. DISTILVIT_BIN names a program
// built already; otherwise it is built once. Start reading at program_test.go.
package e2e

// Command print shows what version it was built as.
package main

import (
	"fmt"

	"distilvit/internal/version"
)

func main() { fmt.Print(version.Program()) }

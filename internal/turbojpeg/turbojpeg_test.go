package turbojpeg
import "testing"
func TestA(t *testing.T){ if err:=Available(); err!=nil {t.Fatal(err)} }

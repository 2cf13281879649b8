package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/temporalio/ui-server/v2/server/config"
	"github.com/temporalio/ui-server/v2/server/csrf"
	"github.com/temporalio/ui-server/v2/server/route"
	"github.com/temporalio/ui-server/v2/ui"

	"distilvit/internal/hostcheck"
)

// webUI is Temporal's web UI with its API. It is put together from the parts of the
// UI's own server, which has no place for a check of Host and Origin and ends the
// process when its port is taken.
type webUI struct {
	echo *echo.Echo
	done chan error // once the server has ended
}

// startUI serves the UI of a Temporal server at address.
func startUI(address, temporalAddress string) (*webUI, error) {
	settings := &config.Config{
		Host:                loopback,
		Port:                portOf(address),
		TemporalGRPCAddress: temporalAddress,
		EnableUI:            true,
		DefaultNamespace:    namespace,
		CORS:                config.CORS{CookieInsecure: true}, // plain http on loopback
		HideLogs:            true,
		DisableNewsFetch:    true,
	}
	provider, err := config.NewConfigProviderWithRefresh(settings)
	if err != nil {
		return nil, fmt.Errorf("web UI: %w", err)
	}
	assets, err := ui.Assets()
	if err == nil {
		assets, err = fs.Sub(assets, "local")
	}
	if err != nil {
		return nil, fmt.Errorf("web UI: %w", err)
	}
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(io.Discard)
	e.Pre(echo.WrapMiddleware(hostcheck.Handler))
	e.Use(middleware.Recover(), middleware.Gzip(), middleware.Secure())
	e.Use(csrf.EnsureTokenCookie(false), middleware.CSRFWithConfig(csrf.MiddlewareConfig(provider, false)))
	route.SetHealthRoute(e)
	err = errors.Join(
		route.SetAPIRoutes(e, provider, nil),
		route.SetUIRoutes(e, settings.PublicPath, assets, provider),
	)
	route.SetRenderRoute(e, "/")
	if err != nil {
		return nil, fmt.Errorf("web UI: %w", err)
	}
	u := &webUI{echo: e, done: make(chan error, 1)}
	go func() { u.done <- e.Start(address) }()
	return u, nil
}

// uiGrace is how long requests under way may take when the stack ends.
const uiGrace = time.Second

// stop ends the server and says how it ended, where that was not by stop.
func (u *webUI) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), uiGrace)
	defer cancel()
	if u.echo.Shutdown(ctx) != nil { // somebody is still being served
		u.echo.Close()
	}
	if err := <-u.done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("web UI: %w", err)
	}
	return nil
}

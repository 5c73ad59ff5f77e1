;; A component whose world no host provides.
(component
  (import "acme:rockets/launchpad@1.0.0" (instance
    (export "ignite" (func)))))

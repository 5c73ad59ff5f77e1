;; Imports a function that no host provides.
(module
  (import "env" "summon_demon" (func (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")))

;; One body on an orbit around another: floating point with a square root and a division per step.
(module
  (func (export "run") (param $rounds i32) (result i64)
    (local $x f64) (local $y f64) (local $vx f64) (local $vy f64)
    (local $square f64) (local $pull f64)
    (local.set $x (f64.const 1))
    (local.set $vy (f64.const 1))
    (loop $next
      (local.set $square
        (f64.add
          (f64.mul (local.get $x) (local.get $x))
          (f64.mul (local.get $y) (local.get $y))))
      (local.set $pull
        (f64.div
          (f64.const -0.001)
          (f64.mul (local.get $square) (f64.sqrt (local.get $square)))))
      (local.set $vx (f64.add (local.get $vx) (f64.mul (local.get $x) (local.get $pull))))
      (local.set $vy (f64.add (local.get $vy) (f64.mul (local.get $y) (local.get $pull))))
      (local.set $x (f64.add (local.get $x) (f64.mul (local.get $vx) (f64.const 0.001))))
      (local.set $y (f64.add (local.get $y) (f64.mul (local.get $vy) (f64.const 0.001))))
      (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
      (br_if $next (local.get $rounds)))
    (i64.reinterpret_f64 (f64.add (local.get $x) (local.get $y)))))

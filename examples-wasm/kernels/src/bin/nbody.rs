//! Five bodies under gravity, stepped in time: dependent floating-point arithmetic with square roots
//! and divisions (the Benchmarks Game's n-body). A round is a thousand steps.

use std::f64::consts::PI;

use nesos_kernels::{mix, run};

const SOLAR_MASS: f64 = 4.0 * PI * PI;
const DAYS: f64 = 365.24;
const STEP: f64 = 0.01;

#[derive(Clone, Copy)]
struct Body {
    position: [f64; 3],
    velocity: [f64; 3],
    mass: f64,
}

fn main() {
    run("nbody", 3_000, |rounds| {
        let mut bodies = bodies();
        for _ in 0..rounds * 1_000 {
            advance(&mut bodies);
        }
        bodies
            .iter()
            .flat_map(|body| body.position)
            .fold(0, |sum, coordinate| mix(sum, coordinate.to_bits()))
    });
}

fn advance(bodies: &mut [Body; 5]) {
    for i in 0..bodies.len() {
        for j in i + 1..bodies.len() {
            attract(bodies, i, j);
        }
    }
    for body in bodies {
        for (position, velocity) in body.position.iter_mut().zip(body.velocity) {
            *position += STEP * velocity;
        }
    }
}

fn attract(bodies: &mut [Body; 5], i: usize, j: usize) {
    let (one, other) = (bodies[i], bodies[j]);
    let apart: [f64; 3] = std::array::from_fn(|axis| one.position[axis] - other.position[axis]);
    let squared: f64 = apart.iter().map(|distance| distance * distance).sum();
    let magnitude = STEP / (squared * squared.sqrt());
    for (axis, distance) in apart.into_iter().enumerate() {
        bodies[i].velocity[axis] -= distance * other.mass * magnitude;
        bodies[j].velocity[axis] += distance * one.mass * magnitude;
    }
}

/// The Sun and the four great planets, with the Sun's momentum set off against theirs.
fn bodies() -> [Body; 5] {
    let planet = |position, velocity: [f64; 3], mass: f64| Body {
        position,
        velocity: velocity.map(|per_day| per_day * DAYS),
        mass: mass * SOLAR_MASS,
    };
    let mut bodies = [
        planet([0.0; 3], [0.0; 3], 1.0),
        planet(
            [
                4.841_431_442_464_72,
                -1.160_320_044_027_428_4,
                -0.103_622_044_471_123_11,
            ],
            [
                0.001_660_076_642_744_037,
                0.007_699_011_184_197_404,
                -0.000_069_046_001_697_206_3,
            ],
            0.000_954_791_938_424_326_6,
        ),
        planet(
            [
                8.343_366_718_244_58,
                4.124_798_564_124_305,
                -0.403_523_417_114_321_4,
            ],
            [
                -0.002_767_425_107_268_624,
                0.004_998_528_012_349_172,
                0.000_023_041_729_757_376_393,
            ],
            0.000_285_885_980_666_130_8,
        ),
        planet(
            [
                12.894_369_562_139_13,
                -15.111_151_401_698_631,
                -0.223_307_578_892_655_73,
            ],
            [
                0.002_964_601_375_647_616,
                0.002_378_471_739_594_809_5,
                -0.000_029_658_956_854_023_756,
            ],
            0.000_043_662_440_433_515_63,
        ),
        planet(
            [
                15.379_697_114_850_917,
                -25.919_314_609_987_964,
                0.179_258_772_950_371_18,
            ],
            [
                0.002_680_677_724_903_893_2,
                0.001_628_241_700_382_423,
                -0.000_095_159_225_451_971_59,
            ],
            0.000_051_513_890_204_661_145,
        ),
    ];
    for axis in 0..3 {
        let momentum: f64 = bodies.iter().map(|b| b.velocity[axis] * b.mass).sum();
        bodies[0].velocity[axis] = -momentum / SOLAR_MASS;
    }
    bodies
}

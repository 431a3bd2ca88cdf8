// Steps LIBERO slots natively: mj_step1 -> operational space control -> mj_step2, 25 times per control step.
//
// The C twin of NumpyStepper (engine.py), controller.py and goals.py, which explain the rules; structures here have the
// memory layout of the NumPy dtypes there (checked when the library is loaded). Slots are independent: one thread runs a
// slot's whole chunk, so results depend neither on the batch nor on the number of threads.

#define _GNU_SOURCE  // pthread_setaffinity_np
#include <math.h>
#include <mujoco/mujoco.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ARM = 7, ACTION = 7, MAX_JOINTS = 4 };

typedef struct {
  double position[3], rotation[9], linear_velocity[3], angular_velocity[3];
  double jacobian[6 * ARM], mass_matrix[ARM * ARM], qpos[ARM], qvel[ARM];
} ArmState;

typedef struct {
  int32_t arm_qpos[ARM], arm_dof[ARM], arm_actuator[ARM], finger_qpos[2], finger_actuator[2];
  int32_t grip_site, hand_body, substeps, look_substep;
  double home_qpos[ARM], action_scale[6], kp[6], kd[6], posture_kp, torque_low[ARM], torque_high[ARM];
  double grip_speed, finger_bias[2], finger_weight[2], initial_goal_rotation[9];
  ArmState stale;
} Robot;

typedef struct {
  int32_t rule, body, site, other_body, root, other_root, comparison, num_joints, qpos[MAX_JOINTS];
  double threshold, size[3];
} Atom;

enum { IN_SITE, ON_SITE, ON_OBJECT, ANY_JOINT, ALL_JOINTS };  // Atom.rule
enum { BELOW, ABOVE, AT_LEAST };                              // Atom.comparison

typedef struct {
  double goal_position[3], goal_rotation[9], grip[2];
  double look_position[3], look_quat[4], look_fingers[2];
  int32_t stale, count, success;
  uint32_t touching;
  double look_qpos[];  // nq, and after them the nq of start_qpos
} State;

typedef struct {
  const mjModel* model;
  mjData* data;
  const Robot* robot;
  const Atom* atoms;
  State* state;
  int64_t num_atoms;
} Slot;

void hone_sizes(int64_t sizes[5]) {
  sizes[0] = sizeof(ArmState);
  sizes[1] = sizeof(Robot);
  sizes[2] = sizeof(Atom);
  sizes[3] = sizeof(State);
  sizes[4] = sizeof(Slot);
}

static double clip(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

// ---------------------------------------------------------------------------------------------- small linear algebra

// What is smaller than this share of the largest number counts as zero. Rounding leaves a few 1e-15 of a pivot that
// should be zero (which ones, depends on the processor); an arm that is not singular has no share below 1e-5.
static const double SINGULAR = 1e-13;

// Lower factor of the symmetric n x n matrix A (row stride `stride`). 0 if a pivot is lost to rounding.
static int cholesky(int n, const double* A, int stride, double* L) {
  double largest = 0;
  for (int i = 0; i < n; i++) largest = fmax(largest, A[i * stride + i]);
  for (int i = 0; i < n; i++) {
    for (int j = 0; j <= i; j++) {
      double sum = A[i * stride + j];
      for (int k = 0; k < j; k++) sum -= L[i * n + k] * L[j * n + k];
      if (i != j) {
        L[i * n + j] = sum / L[j * n + j];
      } else {
        if (!(sum > SINGULAR * largest)) return 0;
        L[i * n + i] = sqrt(sum);
      }
    }
  }
  return 1;
}

static void cholesky_solve(int n, const double* L, const double* b, double* x) {
  for (int i = 0; i < n; i++) {
    double sum = b[i];
    for (int k = 0; k < i; k++) sum -= L[i * n + k] * x[k];
    x[i] = sum / L[i * n + i];
  }
  for (int i = n - 1; i >= 0; i--) {
    double sum = x[i];
    for (int k = i + 1; k < n; k++) sum -= L[k * n + i] * x[k];
    x[i] = sum / L[i * n + i];
  }
}

// x = pinv(A) b for a symmetric positive semidefinite A, by cyclic Jacobi rotations. Needed only where the arm is
// exactly singular.
static void pinv_solve(int n, const double* A, int stride, const double* b, double* x) {
  double D[36], V[36];
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) D[i * n + j] = A[i * stride + j], V[i * n + j] = i == j;
  for (int sweep = 0; sweep < 32; sweep++) {
    double off = 0, diagonal = 0;
    for (int i = 0; i < n; i++)
      for (int j = 0; j < n; j++) *(i == j ? &diagonal : &off) += D[i * n + j] * D[i * n + j];
    if (!(off > 1e-34 * diagonal)) break;
    for (int p = 0; p < n; p++) {
      for (int q = p + 1; q < n; q++) {
        if (D[p * n + q] == 0) continue;
        double theta = 0.5 * atan2(2 * D[p * n + q], D[q * n + q] - D[p * n + p]), c = cos(theta), s = sin(theta);
        for (int k = 0; k < n; k++) {
          double a = D[k * n + p], e = D[k * n + q];
          D[k * n + p] = c * a - s * e, D[k * n + q] = s * a + c * e;
        }
        for (int k = 0; k < n; k++) {
          double a = D[p * n + k], e = D[q * n + k];
          D[p * n + k] = c * a - s * e, D[q * n + k] = s * a + c * e;
        }
        for (int k = 0; k < n; k++) {
          double a = V[k * n + p], e = V[k * n + q];
          V[k * n + p] = c * a - s * e, V[k * n + q] = s * a + c * e;
        }
      }
    }
  }
  double largest = 0;
  for (int i = 0; i < n; i++) largest = fmax(largest, D[i * n + i]);
  for (int i = 0; i < n; i++) x[i] = 0;
  for (int j = 0; j < n; j++) {
    if (!(D[j * n + j] > SINGULAR * largest)) continue;
    double projection = 0;
    for (int k = 0; k < n; k++) projection += V[k * n + j] * b[k];
    for (int k = 0; k < n; k++) x[k] += V[k * n + j] * projection / D[j * n + j];
  }
}

// x = pinv(A) b, A symmetric positive semidefinite.
static void solve(int n, const double* A, int stride, const double* b, double* x) {
  double L[36];
  if (cholesky(n, A, stride, L)) cholesky_solve(n, L, b, x);
  else pinv_solve(n, A, stride, b, x);
}

// Exported for the tests.
void hone_solve(int n, const double* A, const double* b, double* x) { solve(n, A, n, b, x); }

// -------------------------------------------------------------------------------------------------------- controller

// controller.read_arm
static void read_arm(const mjModel* m, mjData* d, const Robot* r, double* scratch, ArmState* arm) {
  const int nv = m->nv, *dof = r->arm_dof;
  double *jacp = scratch, *jacr = scratch + 3 * nv;
  mj_jacSite(m, d, jacp, jacr, r->grip_site);
  memcpy(arm->position, d->site_xpos + 3 * r->grip_site, sizeof arm->position);
  memcpy(arm->rotation, d->site_xmat + 9 * r->grip_site, sizeof arm->rotation);
  for (int j = 0; j < ARM; j++) {
    arm->qpos[j] = d->qpos[r->arm_qpos[j]];
    arm->qvel[j] = d->qvel[dof[j]];
  }
  for (int i = 0; i < 3; i++) {
    double v = 0, w = 0;
    for (int j = 0; j < ARM; j++) {
      arm->jacobian[i * ARM + j] = jacp[i * nv + dof[j]];
      arm->jacobian[(i + 3) * ARM + j] = jacr[i * nv + dof[j]];
      v += jacp[i * nv + dof[j]] * arm->qvel[j];
      w += jacr[i * nv + dof[j]] * arm->qvel[j];
    }
    arm->linear_velocity[i] = v;
    arm->angular_velocity[i] = w;
  }
  // The arm's block of the sparse mass matrix: row i of qM holds dof i and its ancestors, going up the tree.
  memset(arm->mass_matrix, 0, sizeof arm->mass_matrix);
  for (int i = 0; i < ARM; i++) {
    int address = m->dof_Madr[dof[i]];
    for (int ancestor = dof[i]; ancestor >= 0; ancestor = m->dof_parentid[ancestor], address++)
      for (int j = 0; j <= i; j++)
        if (dof[j] == ancestor) arm->mass_matrix[i * ARM + j] = arm->mass_matrix[j * ARM + i] = d->qM[address];
  }
}

// controller.action_rotation: robosuite rounds to single precision here.
static void action_rotation(const double v[3], double R[9]) {
  double angle = sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]), squared_norm = 0;
  float q[4], p[4][4];
  q[0] = (float)cos(angle / 2);
  for (int i = 0; i < 3; i++) q[i + 1] = (float)(v[i] / angle * sin(angle / 2));
  for (int i = 0; i < 4; i++) {
    float square = q[i] * q[i];
    squared_norm += (double)square;
  }
  double scale = sqrt(2.0 / (double)(float)squared_norm);
  for (int i = 0; i < 4; i++) q[i] = (float)((double)q[i] * scale);
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) p[i][j] = q[i] * q[j];
  R[0] = 1.0 - (double)p[2][2] - (double)p[3][3];
  R[4] = 1.0 - (double)p[1][1] - (double)p[3][3];
  R[8] = 1.0 - (double)p[1][1] - (double)p[2][2];
  float off[6] = {p[1][2] - p[3][0], p[1][3] + p[2][0], p[1][2] + p[3][0],
                  p[2][3] - p[1][0], p[1][3] - p[2][0], p[2][3] + p[1][0]};
  R[1] = off[0], R[2] = off[1], R[3] = off[2], R[5] = off[3], R[6] = off[4], R[7] = off[5];
}

static void set_goal(const Robot* r, const ArmState* arm, const double* action, State* s) {
  double delta[6];
  for (int i = 0; i < 6; i++) delta[i] = clip(action[i], -1, 1) * r->action_scale[i];
  // Without a rotation the previous goal orientation stays: the arm does not drift with its own tracking error.
  if (delta[3] != 0 || delta[4] != 0 || delta[5] != 0) {
    double R[9];
    action_rotation(delta + 3, R);
    mju_mulMatMat3(s->goal_rotation, R, arm->rotation);
  }
  for (int i = 0; i < 3; i++) s->goal_position[i] = arm->position[i] + delta[i];
}

// controller.osc_torques, with N^T M u written as M u - J^T (J M^-1 J^T)^-1 J u.
static void osc_torques(const ArmState* arm, const State* s, const Robot* r, const double bias[ARM], double tau[ARM]) {
  const double *J = arm->jacobian, *M = arm->mass_matrix;
  double error[3] = {0, 0, 0}, wrench_in[6], wrench[6], u[ARM], Ju[6], y[6];
  for (int k = 0; k < 3; k++) {
    double a[3] = {arm->rotation[k], arm->rotation[3 + k], arm->rotation[6 + k]};
    double b[3] = {s->goal_rotation[k], s->goal_rotation[3 + k], s->goal_rotation[6 + k]};
    double c[3];
    mju_cross(c, a, b);
    for (int i = 0; i < 3; i++) error[i] += 0.5 * c[i];
  }
  for (int i = 0; i < 3; i++) {
    wrench_in[i] = (s->goal_position[i] - arm->position[i]) * r->kp[i] - arm->linear_velocity[i] * r->kd[i];
    wrench_in[3 + i] = error[i] * r->kp[3 + i] - arm->angular_velocity[i] * r->kd[3 + i];
  }

  double L[ARM * ARM], MinvJt[6][ARM], A[36];  // A = J M^-1 J^T
  if (!cholesky(ARM, M, ARM, L)) {             // only a state that has already diverged
    for (int j = 0; j < ARM; j++) tau[j] = NAN;
    return;
  }
  for (int i = 0; i < 6; i++) cholesky_solve(ARM, L, J + i * ARM, MinvJt[i]);
  for (int i = 0; i < 6; i++)
    for (int j = 0; j < 6; j++) A[i * 6 + j] = mju_dot(J + i * ARM, MinvJt[j], ARM);

  solve(3, A, 6, wrench_in, wrench);
  solve(3, A + 3 * 6 + 3, 6, wrench_in + 3, wrench + 3);

  double posture_kd = 2 * sqrt(r->posture_kp);
  for (int j = 0; j < ARM; j++) u[j] = r->posture_kp * (r->home_qpos[j] - arm->qpos[j]) - posture_kd * arm->qvel[j];
  for (int i = 0; i < 6; i++) Ju[i] = mju_dot(J + i * ARM, u, ARM);
  solve(6, A, 6, Ju, y);

  for (int j = 0; j < ARM; j++) {
    double task = 0, posture = mju_dot(M + j * ARM, u, ARM);
    for (int i = 0; i < 6; i++) task += J[i * ARM + j] * wrench[i], posture -= J[i * ARM + j] * y[i];
    tau[j] = task + bias[j] + posture;
  }
}

// -------------------------------------------------------------------------------------------------------------- goals

// BoundGoal.update_touching
static void update_touching(const Slot* slot) {
  const mjModel* m = slot->model;
  const mjData* d = slot->data;
  const int sleep_enabled = (m->opt.enableflags & mjENBL_SLEEP) != 0;
  for (int i = 0; i < slot->num_atoms; i++) {
    const int a = slot->atoms[i].root, b = slot->atoms[i].other_root;
    if (b < 0) continue;
    if (sleep_enabled && d->body_awake[a] != mjS_AWAKE && d->body_awake[b] != mjS_AWAKE) continue;
    uint32_t touches = 0;
    for (int c = 0; c < d->ncon && !touches; c++) {
      const int x = m->body_rootid[m->geom_bodyid[d->contact[c].geom[0]]];
      const int y = m->body_rootid[m->geom_bodyid[d->contact[c].geom[1]]];
      touches = (x == a && y == b) || (x == b && y == a);
    }
    slot->state->touching = (slot->state->touching & ~(1u << i)) | touches << i;
  }
}

// goals._holds
static int holds(const Atom* atom, const mjData* d, int touches) {
  if (atom->rule == ANY_JOINT || atom->rule == ALL_JOINTS) {
    int beyond = 0;
    for (int j = 0; j < atom->num_joints; j++) {
      const double q = d->qpos[atom->qpos[j]], t = atom->threshold;
      beyond += atom->comparison == BELOW ? q < t : atom->comparison == ABOVE ? q > t : q >= t;
    }
    return atom->rule == ANY_JOINT ? beyond > 0 : beyond == atom->num_joints;
  }
  const double* p = d->xpos + 3 * atom->body;
  if (atom->rule == ON_OBJECT) {
    const double* o = d->xpos + 3 * atom->other_body;
    const double dx = o[0] - p[0], dy = o[1] - p[1];
    return touches && o[2] <= p[2] && sqrt(dx * dx + dy * dy) < 0.03;
  }
  const double *c = d->site_xpos + 3 * atom->site, *R = d->site_xmat + 9 * atom->site, *z = atom->size;
  double t[3];
  if (atom->rule == IN_SITE) {
    mju_mulMatVec3(t, R, z);
    for (int i = 0; i < 3; i++) {
      const double extent = fabs(t[i]), below = i == 2 ? 0.01 : 0;
      if (!(p[i] > c[i] - extent - below && p[i] < c[i] + extent)) return 0;
    }
    return 1;
  }
  const double from_centre[3] = {p[0] - c[0], p[1] - c[1], p[2] - c[2]};
  mju_mulMatVec3(t, R, from_centre);
  return z[2] - 0.005 < t[2] && t[2] < z[2] + 0.10 && fabs(t[0]) < z[0] && fabs(t[1]) < z[1] &&
         (touches || atom->other_root < 0);
}

static int evaluate(const Slot* slot) {
  for (int i = 0; i < slot->num_atoms; i++)
    if (!holds(slot->atoms + i, slot->data, slot->state->touching >> i & 1)) return 0;
  return 1;
}

// ----------------------------------------------------------------------------------------------------------- stepping

static int bad_numbers(const mjModel* m, const mjData* d) {
  int bad = d->warning[mjWARN_BADQPOS].number + d->warning[mjWARN_BADQVEL].number +
            d->warning[mjWARN_BADQACC].number + d->warning[mjWARN_BADCTRL].number;
  for (int i = 0; i < m->nq; i++) bad += mju_isBad(d->qpos[i]);
  for (int i = 0; i < m->nv; i++) bad += mju_isBad(d->qvel[i]);
  return bad;
}

static void control_step(const Slot* slot, const double* action, double* scratch) {
  const mjModel* m = slot->model;
  mjData* d = slot->data;
  const Robot* r = slot->robot;
  State* s = slot->state;
  const int sleep_enabled = (m->opt.enableflags & mjENBL_SLEEP) != 0;
  const double grip_step = r->grip_speed * (double)((action[6] > 0) - (action[6] < 0));
  memcpy(s->look_qpos + m->nq, d->qpos, m->nq * sizeof(double));  // start_qpos
  for (int k = 1; k <= r->substeps; k++) {
    mj_step1(m, d);
    // Contacts are fresh and nothing has fallen asleep since they were found.
    if (sleep_enabled || k == r->substeps) update_touching(slot);

    ArmState live;
    const ArmState* arm = &live;
    if (s->stale) arm = &r->stale;
    else read_arm(m, d, r, scratch, &live);
    s->stale = 0;
    if (k == 1) set_goal(r, arm, action, s);

    double bias[ARM], tau[ARM];
    for (int j = 0; j < ARM; j++) bias[j] = d->qfrc_bias[r->arm_dof[j]];
    osc_torques(arm, s, r, bias, tau);
    for (int j = 0; j < ARM; j++) d->ctrl[r->arm_actuator[j]] = clip(tau[j], r->torque_low[j], r->torque_high[j]);
    for (int j = 0; j < 2; j++) {
      s->grip[j] = clip(s->grip[j] + (j == 0 ? -grip_step : grip_step), -1, 1);
      d->ctrl[r->finger_actuator[j]] = r->finger_bias[j] + r->finger_weight[j] * s->grip[j];
    }

    // Observations show this substep: poses of its forward pass (so qpos before integration), finger joints after it.
    if (k == r->look_substep) memcpy(s->look_qpos, d->qpos, m->nq * sizeof(double));
    mj_step2(m, d);
    if (k == r->look_substep) {
      memcpy(s->look_position, d->site_xpos + 3 * r->grip_site, sizeof s->look_position);
      memcpy(s->look_quat, d->xquat + 4 * r->hand_body, sizeof s->look_quat);
      for (int j = 0; j < 2; j++) s->look_fingers[j] = d->qpos[r->finger_qpos[j]];
    }
  }
  s->count++;
  s->success = evaluate(slot);
}

typedef struct {
  const Slot* slots;
  const double* chunks;  // [n, horizon, ACTION]
  const int32_t* max_steps;
  double* scratch;  // [n, 6 * max nv]
  int32_t n, horizon, stop_at_success, scratch_size;
  int32_t* steps;
  uint8_t *success, *diverged;
  atomic_int next;
} Job;

static void work(Job* job) {
  for (int i; (i = atomic_fetch_add(&job->next, 1)) < job->n;) {
    const Slot* slot = job->slots + i;
    job->steps[i] = job->success[i] = job->diverged[i] = 0;
    for (int t = 0; t < job->horizon && t < job->max_steps[i]; t++) {
      control_step(slot, job->chunks + ((size_t)i * job->horizon + t) * ACTION,
                   job->scratch + (size_t)i * job->scratch_size);
      job->steps[i]++;
      if (bad_numbers(slot->model, slot->data)) {
        slot->state->success = 0;
        job->diverged[i] = 1;
        break;
      }
      job->success[i] |= slot->state->success;
      if (slot->state->success && job->stop_at_success) break;
    }
  }
}

// Threads that wait between calls. A fork leaves them behind, so a pool belongs to the process that made it.
typedef struct {
  pthread_mutex_t turn;  // held through a call: one at a time
  pthread_mutex_t lock;  // guards what follows
  pthread_cond_t called, finished;
  Job* job;
  unsigned calls;
  int num_threads, working, closing;
  pthread_t threads[];
} Pool;

static void* serve(void* argument) {
  Pool* pool = argument;
  pthread_mutex_lock(&pool->lock);
  for (unsigned served = 0;; served++) {
    while (pool->calls == served && !pool->closing) pthread_cond_wait(&pool->called, &pool->lock);
    if (pool->closing) break;
    pthread_mutex_unlock(&pool->lock);
    work(pool->job);
    pthread_mutex_lock(&pool->lock);
    if (--pool->working == 0) pthread_cond_signal(&pool->finished);
  }
  pthread_mutex_unlock(&pool->lock);
  return NULL;
}

static int stay_on(pthread_t thread, int core) {
#ifdef __linux__
  cpu_set_t set;
  CPU_ZERO(&set);
  if (core >= CPU_SETSIZE) return 0;
  CPU_SET(core, &set);
  return pthread_setaffinity_np(thread, sizeof set, &set) == 0;
#else
  return 0;  // no such call
#endif
}

void hone_close_pool(Pool* pool) {
  pthread_mutex_lock(&pool->lock);
  pool->closing = 1;
  pthread_cond_broadcast(&pool->called);
  pthread_mutex_unlock(&pool->lock);
  for (int i = 0; i < pool->num_threads; i++) pthread_join(pool->threads[i], NULL);
  free(pool);
}

// num_threads waiting threads; thread i stays on core cores[i] unless that is negative. NULL if the system refuses.
Pool* hone_open_pool(int32_t num_threads, const int32_t* cores) {
  Pool* pool = calloc(1, sizeof(Pool) + (size_t)num_threads * sizeof(pthread_t));
  if (!pool) return NULL;
  pthread_mutex_init(&pool->turn, NULL);
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->called, NULL);
  pthread_cond_init(&pool->finished, NULL);
  int refused = 0;
  for (int i = 0; i < num_threads && !refused; i++) {
    refused = pthread_create(pool->threads + i, NULL, serve, pool) != 0;
    pool->num_threads += !refused;
    if (!refused && cores[i] >= 0) refused = !stay_on(pool->threads[i], cores[i]);
  }
  if (!refused) return pool;
  hone_close_pool(pool);
  return NULL;
}

// Runs up to min(horizon, max_steps[i]) control steps in each of n slots: on the pool's threads, or without a pool on
// this one.
void hone_step(Pool* pool, const Slot* slots, const double* chunks, const int32_t* max_steps, double* scratch,
               int32_t n, int32_t horizon, int32_t stop_at_success, int32_t scratch_size, int32_t* steps,
               uint8_t* success, uint8_t* diverged) {
  Job job = {slots, chunks, max_steps, scratch, n, horizon, stop_at_success, scratch_size, steps, success, diverged, 0};
  if (!pool) {
    work(&job);
    return;
  }
  pthread_mutex_lock(&pool->turn);
  pthread_mutex_lock(&pool->lock);
  pool->job = &job;
  pool->working = pool->num_threads;
  pool->calls++;
  pthread_cond_broadcast(&pool->called);
  while (pool->working) pthread_cond_wait(&pool->finished, &pool->lock);
  pthread_mutex_unlock(&pool->lock);
  pthread_mutex_unlock(&pool->turn);
}
